"""What the uploads of all callers take together, and how long a request waits for them."""

import fcntl
import os
from dataclasses import replace
from pathlib import Path

import pytest

from broker.errors import TemporaryError
from broker.uploads import UploadLimits, Uploads, UploadStatus
from broker.uploads.sets import UploadSets
from broker.uploads.usage import UploadUsage
from tests.support.tus import TusCaller, id_of

LIMITS = UploadLimits(max_bytes=10**9, per_caller=1000, per_caller_bytes=10**12)


def begin(
    uploads: Uploads,
    limits: UploadLimits,
    *,
    length: int = 5,
    name: str = "a.dcm",
    caller: str = "clerk",
    set_id: str | None = None,
) -> UploadStatus:
    return uploads.create(caller, length, name, "", limits, set_id)


def refused(uploads: Uploads, limits: UploadLimits, **given: int | str) -> str:
    with pytest.raises(TemporaryError) as caught:
        begin(uploads, limits, **given)  # type: ignore[arg-type]
    assert caught.value.retry_after_s == 60
    return caught.value.code


def test_a_caller_has_so_many_empty_files(uploads: Uploads) -> None:
    """Of all sets together; a replaced one counts once, others' and files with bytes do not."""
    limits = replace(LIMITS, empty_files=2)
    first = begin(uploads, limits, length=0)
    begin(uploads, limits, length=0, set_id=first.set_id)
    begin(uploads, limits, length=0)
    assert refused(uploads, limits, length=0) == "too_many_uploads"
    assert refused(uploads, limits, length=0, name="b", set_id=first.set_id) == "too_many_uploads"
    begin(uploads, limits)
    begin(uploads, limits, length=0, caller="chief")
    uploads.delete(first.set_id, "clerk")
    begin(uploads, limits, length=0)


def test_a_caller_has_so_many_bytes_of_whole_uploads_too(uploads: Uploads, folder: Path) -> None:
    """Whole and begun ones of all sets; others' do not count, deleted and replaced ones no more."""
    limits = replace(LIMITS, per_caller_bytes=100)
    whole = begin(uploads, limits, length=60)
    writer = uploads.open_writer(whole.id, "clerk", 0)
    writer.write(bytes(60))
    writer.close()
    begun = begin(uploads, limits, length=30)
    before = sorted(folder.rglob("*"))
    assert refused(uploads, limits, length=11) == "too_many_uploads"
    assert refused(uploads, limits, length=11, name="b", set_id=whole.set_id) == "too_many_uploads"
    assert refused(uploads, limits, length=71, set_id=whole.set_id) == "too_many_uploads"
    assert sorted(folder.rglob("*")) == before
    begin(uploads, limits, length=100, caller="chief")
    begin(uploads, limits, length=70, set_id=whole.set_id)
    uploads.delete(begun.set_id, "clerk")
    begin(Uploads(folder), limits, length=30)
    assert refused(uploads, limits, length=1) == "too_many_uploads"


def test_a_caller_has_so_many_files(uploads: Uploads) -> None:
    """Of all sets together, however small they are; a replaced one counts once."""
    limits = replace(LIMITS, files=2)
    first = begin(uploads, limits)
    begin(uploads, limits, name="b.dcm", set_id=first.set_id)
    begin(uploads, limits, set_id=first.set_id)
    assert refused(uploads, limits) == "too_many_uploads"
    assert refused(uploads, limits, name="c.dcm", set_id=first.set_id) == "too_many_uploads"
    begin(uploads, limits, caller="chief")
    uploads.delete(first.set_id, "clerk")
    begin(uploads, limits)


def test_a_caller_has_so_many_bytes_of_names(uploads: Uploads, folder: Path) -> None:
    """Of all sets together, as their manifests take them; nothing is made for one that is over."""
    limits = replace(LIMITS, metadata_bytes=1000)
    first = begin(uploads, limits, name="a" * 300)
    begin(uploads, limits, name="b" * 100)
    before = sorted(folder.rglob("*"))
    for set_id in (None, first.set_id):
        with pytest.raises(TemporaryError) as caught:
            uploads.create("clerk", 5, "c", "x" * 500, limits, set_id)
        assert caught.value.code == "too_many_uploads"
    assert sorted(folder.rglob("*")) == before
    uploads.create("chief", 5, "c", "x" * 500, limits)


def test_what_is_to_come_follows_every_change(uploads: Uploads, folder: Path) -> None:
    """Bytes that come, a file that is replaced, one that is deleted, also by another process."""
    usage = UploadUsage(UploadSets(folder))

    def promised() -> int:
        usage.refresh()
        return usage.promised_bytes()

    status = begin(uploads, LIMITS, length=100)
    assert promised() == 100
    writer = uploads.open_writer(status.id, "clerk", 0)
    writer.write(bytes(60))
    assert promised() == 40
    writer.write(bytes(40))
    writer.close()
    assert [promised(), promised()] == [0, 0]
    other = Uploads(folder)
    again = begin(other, LIMITS, length=30, set_id=status.set_id)
    assert promised() == 30
    begin(other, LIMITS, length=7, name="b.dcm", set_id=status.set_id)
    assert promised() == 37
    other.delete(again.id, "clerk")
    assert promised() == 7
    other.delete(status.set_id, "clerk")
    assert promised() == 0


def test_a_manifest_that_has_not_changed_is_not_read(uploads: Uploads, folder: Path) -> None:
    """Its stamp is enough: what replaces its text without another stamp is not seen."""
    status = begin(uploads, LIMITS, length=100)
    usage = UploadUsage(UploadSets(folder))
    usage.refresh()
    manifest = folder / status.set_id / "upload.json"
    stamp = manifest.stat()
    with manifest.open("r+b") as file:
        file.write(bytes(stamp.st_size))
    os.utime(manifest, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    usage.refresh()
    assert usage.promised_bytes() == 100
    os.utime(manifest)
    usage.refresh()
    assert usage.promised_bytes() == 0


def test_a_locked_folder_is_waited_for_and_left(
    tus: TusCaller, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """503 with when to try again, for whatever needs the lock; then it goes on as before."""
    address = tus.send(b"abc")
    monkeypatch.setattr(UploadSets.locked.__wrapped__, "__defaults__", (0.1,))  # type: ignore[attr-defined]
    with (folder / "lock").open("wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for answer in (tus.create(3), tus.delete(address)):
            assert (answer.status_code, answer.json()["code"]) == (503, "uploads_locked")
            assert answer.headers["retry-after"] == "5"
        assert tus.offset(address) == 3
    assert tus.create(3, "b.dcm", id_of(address).partition("-")[0]).status_code == 201
    assert tus.delete(address).status_code == 204
