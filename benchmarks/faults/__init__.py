"""The faults that benchmarks/mutants.py plants, by the part of fxconv they lie in.

A row is a `Mutant`: what is wrong in words, a file, the text that stands there once, what takes its place, and the
tests that should see it, as narrow as they can be named. `mutants.py` refuses a row whose text is not there.
"""

from __future__ import annotations

from benchmarks.faults.audits import AUDIT, DYNAMIC
from benchmarks.faults.corrections import CORRECTIONS, RANGES
from benchmarks.faults.executorch_proof import EXECUTORCH_PROOF
from benchmarks.faults.fidelity import FIDELITY
from benchmarks.faults.files import PROOF, STAGING
from benchmarks.faults.ledger import LEDGER, SIZES
from benchmarks.faults.measures import MEASURES, PEAKS
from benchmarks.faults.rewriting import REWRITING

PLANTED = {
    "The kernel audit": AUDIT,
    "The audit of dynamic quantization": DYNAMIC,
    "The ledger, and what verifies": LEDGER,
    "Int8 beside float": FIDELITY,
    "Other input sizes": SIZES,
    "Corrections of weights and biases": CORRECTIONS,
    "Ranges, and what kernels refuse": RANGES,
    "Folding, fusing and the passes": REWRITING,
    "Staged files": STAGING,
    "Files from elsewhere, golden inputs, digests": PROOF,
    "The proof of .pte files": EXECUTORCH_PROOF,
    "Peaks of heatmaps": PEAKS,
    "Measures, budget and images": MEASURES,
}
