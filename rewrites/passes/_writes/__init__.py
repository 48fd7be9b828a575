"""Writes into tensors as operations that make new ones, for the pass `out-of-place`.

`sharing` finds who sees a change. `twins` has what makes a new tensor of what an in-place operation would have left,
`slices` writes into a part that an index of numbers takes, `scattered` to where a mask or tensors of places say, and
`views` puts back what was changed through a view. They stand on `indices` (what an index takes), `pieces` (what a
joined tensor is put together of), `sizes` (what is known of sizes), `fitting` (a value in the type and dims of a part)
and `builder`, which puts the operations in.
"""
