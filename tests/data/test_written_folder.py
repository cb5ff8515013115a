"""Files are written into a folder in which other people keep theirs."""

import json

import pytest

from gridcast.data.written_folder import written_folder
from gridcast.runtime.errors import GridcastError

MANIFEST = ".gridcast-report.json"


def write(folder, part="report", **contents):
    """Write files by stem, all with the suffix .txt."""
    with written_folder(folder, part) as temporary:
        for stem, content in contents.items():
            (temporary / f"{stem}.txt").write_text(content)


def texts(folder):
    return {path.name: path.read_text() for path in folder.iterdir() if path.is_file() and path.name != MANIFEST}


def test_own_files_are_replaced_and_removed_and_those_of_others_stay(tmp_path):
    folder = tmp_path / "reports" / "retail"
    write(folder, page="old", figure="old")
    write(folder, "monitor", live="live")
    (folder / "notes.txt").write_text("mine")
    (folder / "drafts").mkdir()
    write(folder, page="new")
    assert {name for name in texts(folder) if not name.startswith(".")} == {"page.txt", "live.txt", "notes.txt"}
    assert (folder / "page.txt").read_text() == "new"
    assert (folder / "drafts").is_dir()
    assert folder.stat().st_mode & 0o777 == 0o755


@pytest.mark.parametrize("manifest", [None, "[", "[]", '{"../notes.txt": [], "": [], "page.txt": 1}', "[" * 10**5])
def test_a_file_that_gridcast_did_not_write_is_set_aside(tmp_path, manifest, caplog):
    folder = tmp_path / "retail"
    folder.mkdir()
    (folder / "page.txt").write_text("mine")
    (tmp_path / "notes.txt").write_text("mine")
    if manifest is not None:
        (folder / MANIFEST).write_text(manifest)
    write(folder, page="new")
    assert texts(folder) == {"page.txt": "new", "page.kept.txt": "mine"}
    assert "they are kept as page.kept.txt" in caplog.text
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_a_changed_file_a_link_and_a_folder_are_set_aside(tmp_path):
    write(tmp_path, changed="old", link="old", drawer="old", gone="old")
    (tmp_path / "changed.txt").write_text("changed by hand")
    (tmp_path / "link.txt").unlink()
    (tmp_path / "link.txt").symlink_to("changed.txt")
    (tmp_path / "drawer.txt").unlink()
    (tmp_path / "drawer.txt").mkdir()
    (tmp_path / "gone.txt").write_text("changed by hand")
    write(tmp_path, changed="new", link="new", drawer="new")
    assert [(tmp_path / f"{stem}.txt").read_text() for stem in ("changed", "link", "drawer")] == ["new"] * 3
    assert (tmp_path / "changed.kept.txt").read_text() == (tmp_path / "gone.txt").read_text() == "changed by hand"
    assert (tmp_path / "link.kept.txt").is_symlink()
    assert (tmp_path / "drawer.kept.txt").is_dir()


def test_after_a_kill_between_two_files_all_are_still_known(tmp_path, monkeypatch):
    write(tmp_path, first="old", second="old", stale="old")
    own, replaced = type(tmp_path).replace, []

    def killed(path, target):
        if path.name == "second.txt":
            raise KeyboardInterrupt
        replaced.append(path.name)
        return own(path, target)

    with monkeypatch.context() as patch:
        patch.setattr(type(tmp_path), "replace", killed)
        with pytest.raises(KeyboardInterrupt):
            write(tmp_path, first="new", second="new")
    assert "first.txt" in replaced
    assert texts(tmp_path) == {"first.txt": "new", "second.txt": "old", "stale.txt": "old"}
    write(tmp_path, first="newer", second="newer")
    assert texts(tmp_path) == {"first.txt": "newer", "second.txt": "newer"}
    assert sorted(json.loads((tmp_path / MANIFEST).read_text())) == ["first.txt", "second.txt"]


def test_an_exception_leaves_the_folder_as_it_was(tmp_path):
    write(tmp_path, page="old")

    def fail():
        with written_folder(tmp_path, "report") as temporary:
            (temporary / "page.txt").write_text("half")
            raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        fail()
    assert texts(tmp_path) == {"page.txt": "old"}


def test_a_link_to_a_folder_is_written_to_and_what_is_no_folder_is_refused(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "link").symlink_to("elsewhere")
    write(tmp_path / "link", page="new")
    assert (tmp_path / "elsewhere" / "page.txt").read_text() == "new"
    (tmp_path / "broken").symlink_to("nowhere")
    (tmp_path / "file").touch()
    for name, reason in (("broken", "a link to a folder that is not there"), ("file", "a file"), ("file/x", "a file")):
        with pytest.raises(GridcastError, match=f"{name}: is {reason}"):
            write(tmp_path / name, page="new")
