"""Bundles as files: content by hash, restricted parts sealed, nothing believed that does not hash."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner
from usufruct_oracle.bundles.folder import Bundle, BundleFolder, BundleUnreadable
from usufruct_oracle.bundles.sealing import SealingKey
from usufruct_oracle.cli import app
from usufruct_oracle.wire_json import FileEntry
from usufruct_protocol.bundle import (
    LINES,
    PUBLIC_FILES,
    RESTRICTED_FILES,
    ROSTERS,
    WORDS,
    bundle_hash,
    possession_proof,
)
from usufruct_protocol.errors import Incompatible, InputRejected

OURS, THEIRS = SealingKey.generate(), SealingKey.generate()


def files(epoch: int) -> dict[str, bytes]:
    """The rosters stay the same from epoch to epoch, and so do the lines."""
    same = {ROSTERS: b"the same people", LINES: b""}
    return {name: same.get(name, f"{name} {epoch}".encode()) for name in (*PUBLIC_FILES, *RESTRICTED_FILES)}


def bundle(epoch: int) -> Bundle:
    found = files(epoch)
    return Bundle(
        found, {name: FileEntry(hashlib.sha256(body).digest(), len(body)) for name, body in found.items()}
    )


def hash_of(epoch: int) -> bytes:
    return bundle_hash(files(epoch))


@pytest.fixture
def folder(tmp_path: Path) -> BundleFolder:
    """Epochs 1 … 5, sealed to us and somebody else."""
    made = BundleFolder(tmp_path / "bundles", OURS)
    for epoch in range(1, 6):
        made.add(epoch, hash_of(epoch), bundle(epoch), [OURS.recipient, THEIRS.recipient])
    return made


def manifest(folder: BundleFolder, epoch: int) -> Path:
    return folder.root / "bundles" / f"0x{hash_of(epoch).hex()}.json"


def test_what_was_added_is_found_whole_by_each_reader(folder: BundleFolder) -> None:
    for key in (OURS, THEIRS):
        for epoch in range(1, 6):
            assert BundleFolder(folder.root, key).find(hash_of(epoch)) == bundle(epoch)
    assert folder.find(bytes(32)) is None
    assert [each.epoch for each in folder.all()] == [1, 2, 3, 4, 5]
    assert len(list((folder.root / "files").iterdir())) == 5 * 3 + 1  # lines.bin is one file for all
    assert [list(folder.check(each)) for each in folder.all()] == [[]] * 5
    assert list(folder.root.rglob(".*")) == []


def test_nothing_restricted_is_readable_without_a_key(folder: BundleFolder) -> None:
    closed = BundleFolder(folder.root)
    with pytest.raises(BundleUnreadable, match=r"accruals\.bin of epoch 2 is sealed") as caught:
        closed.find(hash_of(2))
    assert "--bundle-key" in caught.value.hint
    with pytest.raises(BundleUnreadable, match="sealed to 2 keys, not to this one"):
        BundleFolder(folder.root, SealingKey.generate()).find(hash_of(2))
    for listed in closed.all():
        problems = list(closed.check(listed))
        assert {problem.name for problem in problems} == set(RESTRICTED_FILES)
        assert not any(problem.is_wrong for problem in problems)
    everything = b"".join(path.read_bytes() for path in folder.root.rglob("*") if path.is_file())
    for epoch in range(1, 6):
        for name, body in files(epoch).items():
            assert (body in everything) is (name in PUBLIC_FILES)


def test_inv_45_restricted_files_of_old_epochs_go_and_public_ones_stay(folder: BundleFolder) -> None:
    assert folder.prune(3) == [1, 2]
    assert folder.prune(3) == []
    for epoch in (1, 2):
        with pytest.raises(BundleUnreadable, match="was deleted, or never here"):
            folder.find(hash_of(epoch))
    assert folder.find(hash_of(3)) == bundle(3)
    for listed in folder.all():
        problems = {problem.name: problem.is_wrong for problem in folder.check(listed)}
        assert problems == (dict.fromkeys(RESTRICTED_FILES, False) if listed.epoch < 3 else {})


def test_public_files_alone_can_be_given_to_anybody(tmp_path: Path) -> None:
    public = BundleFolder(tmp_path)
    public.add(1, hash_of(1), bundle(1), [])
    assert {path.name for path in tmp_path.iterdir()} == {"bundles", "files"}
    (listed,) = public.all()
    assert listed.recipients == ()
    assert all(not problem.is_wrong for problem in public.check(listed))


def test_damage_is_told_from_what_was_not_looked_at(folder: BundleFolder) -> None:
    (folder.root / "files" / hashlib.sha256(files(1)[WORDS]).hexdigest()).unlink()
    sealed = folder.root / "sealed" / f"0x{hash_of(1).hex()}" / f"{ROSTERS}.age"
    sealed.write_bytes(sealed.read_bytes()[:-1])
    found = {problem.name: problem for problem in folder.check(next(folder.all()))}
    assert {name: problem.is_wrong for name, problem in found.items()} == {WORDS: True, ROSTERS: True}
    assert "is damaged" in found[ROSTERS].reason
    folder.add(1, hash_of(1), bundle(1), [OURS.recipient])  # exporting again mends it
    assert folder.find(hash_of(1)) == bundle(1)


def test_a_file_larger_than_listed_is_not_read_to_its_end(folder: BundleFolder) -> None:
    path = folder.root / "files" / hashlib.sha256(files(1)[WORDS]).hexdigest()
    with path.open("r+b") as file:
        file.truncate(2**40)
    found = folder.find(hash_of(1))
    assert found is not None
    assert len(found.files[WORDS]) == len(files(1)[WORDS]) + 1


@pytest.mark.parametrize(
    ("change", "error", "match"),
    [
        ({"format": 2}, Incompatible, "format 2, this program reads 1"),
        ({"files": {}}, InputRejected, "not the files of a bundle"),
        ({"sealed_to": None}, InputRejected, "sealed_to must be an array"),
        ({"epoch": -1}, InputRejected, "epoch"),
    ],
)
def test_a_list_of_another_format_or_bundle_is_refused(
    folder: BundleFolder, change: dict[str, object], error: type[Exception], match: str
) -> None:
    content = json.loads(manifest(folder, 1).read_text())
    manifest(folder, 1).write_text(json.dumps({**content, **change}))
    with pytest.raises(error, match=match):
        folder.find(hash_of(1))


def test_verify_says_which_bundle_is_wrong_and_looks_at_the_others(folder: BundleFolder) -> None:
    def verify() -> tuple[int, list[dict[str, object]]]:
        done = CliRunner().invoke(app, ["bundle", "verify", "--json", str(folder.root)])
        return done.exit_code, json.loads(done.stdout)

    assert verify()[0] == 0
    manifest(folder, 2).write_text("{}")
    (folder.root / "files" / hashlib.sha256(files(4)[WORDS]).hexdigest()).write_bytes(b"bent")
    code, found = verify()
    wrong = {each["bundle_hash"] for each in found if each["is_wrong"]}
    assert (code, len(found)) == (1, 5)
    assert wrong == {f"0x{hash_of(epoch).hex()}" for epoch in (2, 4)}


def test_a_list_is_good_under_its_own_hash_only(folder: BundleFolder) -> None:
    shutil.copy(manifest(folder, 2), manifest(folder, 1))
    with pytest.raises(InputRejected, match="not the file list of this bundle"):
        folder.find(hash_of(1))
    content = json.loads(manifest(folder, 3).read_text())
    content["files"]["../../../etc/passwd"] = content["files"].pop(WORDS)
    manifest(folder, 3).write_text(json.dumps(content))
    with pytest.raises(InputRejected, match="not the files of a bundle"):
        folder.find(hash_of(3))


def test_inv_46_a_proof_of_possession_says_who_and_for_what() -> None:
    domain, signer, report_hash = b"\x01" * 32, b"\x02" * 20, b"\x03" * 32
    proof = possession_proof(domain, signer, report_hash, files(1))
    others = [
        possession_proof(b"\x09" * 32, signer, report_hash, files(1)),
        possession_proof(domain, b"\x09" * 20, report_hash, files(1)),
        possession_proof(domain, signer, b"\x09" * 32, files(1)),
        possession_proof(domain, signer, report_hash, {}),
    ]
    for name, body in files(1).items():
        others.append(possession_proof(domain, signer, report_hash, {**files(1), name: body + b"\0"}))
        others.append(possession_proof(domain, signer, report_hash, {**files(1), name: b"\xff" + body[1:]}))
    assert len({proof, *others}) == 1 + len(others)
    parts = [b"Usufruct bundle possession v1\n", domain, signer, report_hash]
    for name in sorted(files(1)):
        parts += (bytes([len(name)]), name.encode(), len(files(1)[name]).to_bytes(8, "big"), files(1)[name])
    assert proof == hashlib.sha256(b"".join(parts)).digest()
