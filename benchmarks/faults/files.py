"""Faults in what is written and what is believed of a file: staging, the allow-list, golden inputs, the digests."""

from __future__ import annotations

from benchmarks.faults.mutant import Mutant

_STAGED, _STAGED_TEST = "fxconv/data/staged_file.py", "tests/fxconv/data/test_staged_file.py"
_ARCHIVE, _ARCHIVE_TEST = "fxconv/inspection/archive.py", "tests/fxconv/inspection/test_archive.py"
_ALLOWED, _ALLOWED_TEST = "fxconv/targets/mobile/allow_list.py", "tests/fxconv/targets/mobile/test_allow_list.py"
_REPLAY, _REPLAY_TEST = "fxconv/replay.py", "tests/fxconv/test_replay.py"
_GOLDEN, _GOLDEN_TEST = "fxconv/targets/proof/golden.py", "tests/fxconv/targets/proof/test_golden.py"
_METADATA, _METADATA_TEST = "fxconv/targets/proof/metadata.py", "tests/fxconv/targets/proof/test_metadata.py"

STAGING = (
    Mutant(
        "a file gets its name before it was checked",
        _STAGED,
        "        os.fsync(self._file)\n",
        "        os.fsync(self._file)\n        self.path.replace(self._final)\n",
        (f"{_STAGED_TEST}::test_a_staged_file_gets_its_name_on_commit_only",),
    ),
    Mutant(
        "a file that is not committed stays",
        _STAGED,
        "        self._remove()\n",
        "",
        (f"{_STAGED_TEST}::test_a_staged_file_that_is_not_committed_vanishes",),
    ),
    Mutant(
        "what killed runs left is not removed",
        _STAGED,
        "            clear_leftovers(self._final)\n",
        "",
        (f"{_STAGED_TEST}::test_what_a_dead_process_left_is_cleared_by_the_next_run_for_the_same_target",),
    ),
    Mutant(
        "what a living run writes is removed",
        _STAGED,
        "if found and not _is_alive(int(found[1])) and not",
        "if found and not",
        (f"{_STAGED_TEST}::test_what_may_belong_to_others_stays",),
    ),
    Mutant(
        "what another machine writes is removed",
        _STAGED,
        "and not _is_alive(int(found[1])) and not _is_locked(path):",
        "and not _is_alive(int(found[1])):",
        (f"{_STAGED_TEST}::test_what_may_belong_to_others_stays",),
    ),
    Mutant(
        "a symbolic link is replaced by the file",
        _STAGED,
        "self._final = Path(os.path.realpath(target))",
        "self._final = target",
        (f"{_STAGED_TEST}::test_a_symbolic_link_stays_and_the_file_it_points_to_is_replaced",),
    ),
    Mutant(
        "a read-only file is replaced",
        _STAGED,
        "elif not mode & 0o222:",
        "elif False:",
        (f"{_STAGED_TEST}::test_places_where_no_file_can_be_put",),
    ),
    Mutant(
        "a file that was written in part is taken for whole",
        _STAGED,
        "left = left[self._file.write(left) :]",
        "left = left[self._file.write(left) and len(left) :]",
        (f"{_STAGED_TEST}::test_what_a_write_leaves_over_is_written_next",),
    ),
    Mutant(
        "the permissions of the file that is replaced are lost",
        _STAGED,
        "if self._final.exists():",
        "if False:",
        (f"{_STAGED_TEST}::test_a_committed_file_has_ordinary_permissions_or_those_of_the_file_it_replaces",),
    ),
)

PROOF = (
    Mutant(
        "an operator that calls other machines may run",
        _ALLOWED,
        '_PRIM = """\n',
        '_PRIM = """\nrpc_async ',
        (f"{_ALLOWED_TEST}::test_what_reaches_further_is_refused_with_its_reason_once",),
    ),
    Mutant(
        "an operator that reads and writes files may run",
        _ALLOWED,
        "_reshape_alias _shape_as_tensor",
        "_reshape_alias from_file _shape_as_tensor",
        (f"{_ALLOWED_TEST}::test_what_reaches_further_is_refused_with_its_reason_once",),
    ),
    Mutant(
        "operators of any namespace may run",
        _ALLOWED,
        "known = ALLOWED.get(namespace, frozenset())",
        'known = ALLOWED.get(namespace, ALLOWED["aten"])',
        (f"{_ALLOWED_TEST}::test_what_nobody_looked_at_is_refused",),
    ),
    Mutant(
        "internal operators that write into their input may run",
        _ALLOWED,
        ' and operator[0] != "_"):',
        "):",
        (f"{_ALLOWED_TEST}::test_what_nobody_looked_at_is_refused",),
    ),
    Mutant(
        "objects of any class may be made",
        _ALLOWED,
        "if namespace not in _CLASSES",
        "if False",
        (f"{_ALLOWED_TEST}::test_objects_of_other_classes_are_refused_before_torch_reads_the_file",),
    ),
    Mutant(
        "two records of one name are read",
        _ARCHIVE,
        "if name.lower() in seen:",
        "if False:",
        (f"{_ALLOWED_TEST}::test_an_archive_that_says_two_things_is_refused_before_torch_reads_it",),
    ),
    Mutant(
        "an archive may end in two ways that say different things",
        _ARCHIVE,
        "if any(a not in (b, most) for",
        "if any(False for",
        (f"{_ARCHIVE_TEST}::test_a_short_form_that_says_something_else_than_the_long_one",),
    ),
    Mutant(
        "the long end of an archive may lie elsewhere",
        _ARCHIVE,
        'if struct.unpack("<Q", opened.read(end - 12, 8))[0] != place:',
        "if False:",
        (f"{_ARCHIVE_TEST}::test_two_directories_of_which_readers_take_one_each",),
    ),
    Mutant(
        "a module that is imported is written over",
        _STAGED,
        "elif module := _imported_from(target):",
        "elif module := None:",
        ("tests/fxconv/cli/test_paths.py::test_whoever_writes_from_python_is_told_too",),
    ),
    Mutant(
        "a golden output's digest is not compared",
        _REPLAY,
        'found["exact"] = sha256(output) == expected["sha256"]',
        'found["exact"] = True',
        (f"{_REPLAY_TEST}::test_without_values_the_digest_alone_decides",),
    ),
    Mutant(
        "a golden output may round otherwise without a float island",
        _REPLAY,
        'return rule in ("island", "kernels") and off is not None',
        "return off is not None",
        (f"{_REPLAY_TEST}::test_a_float_island_may_round_otherwise_but_by_40_db",),
    ),
    Mutant(
        "across a float island 30 dB are enough",
        _REPLAY,
        "ISLAND_SQNR_DB = 40.0",
        "ISLAND_SQNR_DB = 30.0",
        (f"{_REPLAY_TEST}::test_a_float_island_may_round_otherwise_but_by_40_db",),
    ),
    Mutant(
        "a golden output may have another shape",
        _REPLAY,
        'if [list(output.shape), dtype] != [expected["shape"], expected["dtype"]]:',
        "if False:",
        (f"{_REPLAY_TEST}::test_another_shape_is_told",),
    ),
    Mutant(
        "a file without golden cases passes",
        _REPLAY,
        '"passed": bool(cases) and all(case["passed"] for case in cases),',
        '"passed": all(case["passed"] for case in cases),',
        (f"{_REPLAY_TEST}::test_a_file_without_cases_does_not_pass",),
    ),
    Mutant(
        "golden inputs take a fifth of the file",
        _GOLDEN,
        "SHARE = 0.02",
        "SHARE = 0.2",
        (f"{_GOLDEN_TEST}::test_they_take_two_percent_at_most_and_as_many_values_as_there_is_room_for",),
    ),
    Mutant(
        "the digest of edits is not of what stood there",
        _METADATA,
        "[[edit.kind, edit.node, edit.before, edit.after] for edit",
        "[[edit.kind, edit.node, edit.after] for edit",
        (f"{_METADATA_TEST}::test_the_digest_of_edits_is_of_what_stood_there_and_what_stands_there_now",),
    ),
    Mutant(
        "the digest of scales is not of those of weights",
        _METADATA,
        "found.append([name, *_scales(tensor)])",
        "pass",
        (f"{_METADATA_TEST}::test_the_digest_of_scales_is_of_those_of_weights_too",),
    ),
)
