"""Image definitions: the file of one machine."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from broker.settings.config import ConfigError
from worker.programs.image_definitions import FILE, ImageDefinition, ImageDefinitions

IMAGE = "registry.lab/mitosis:3"


def a_definition(name: str = "mitosis", image: str = IMAGE) -> ImageDefinition:
    return ImageDefinition(name=name, image=image, created_by="anna", created_at=1, updated_at=2)


def test_a_definition_is_kept_until_it_is_removed(tmp_path: Path) -> None:
    """By name; the file can be read by its owner only."""
    definitions = ImageDefinitions(tmp_path / "data")
    assert definitions.all() == ()
    definitions.put(a_definition())
    definitions.put(a_definition("grading", "registry.lab/grading:1"))
    assert [one.name for one in definitions.all()] == ["grading", "mitosis"]
    assert (tmp_path / "data" / FILE).stat().st_mode & 0o077 == 0
    assert definitions.find(IMAGE) == definitions.find("mitosis") == a_definition()
    definitions.remove(IMAGE)
    assert [one.name for one in definitions.all()] == ["grading"]


def test_a_name_belongs_to_one_image(tmp_path: Path) -> None:
    """An image that is defined again is the same one, and may get another name."""
    definitions = ImageDefinitions(tmp_path)
    definitions.put(a_definition())
    with pytest.raises(ConfigError, match=r"is that of the image registry\.lab/mitosis:3"):
        definitions.put(a_definition(image="registry.lab/other:1"))
    definitions.put(a_definition("Mitosis 3"))
    assert [one.name for one in definitions.all()] == ["Mitosis 3"]


def test_definitions_that_are_made_at_the_same_time_are_all_kept(tmp_path: Path) -> None:
    """Two people at two terminals."""
    definitions = ImageDefinitions(tmp_path)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda n: definitions.put(a_definition(f"n{n}", f"image:{n}")), range(12)))
    assert len(definitions.all()) == 12


@pytest.mark.parametrize("content", ["[", "{}", '[{"name": "x"}]', " " * 2_100_000])
def test_a_damaged_file_is_said(tmp_path: Path, content: str) -> None:
    """Nothing is replaced silently."""
    (tmp_path / FILE).write_text(content)
    definitions = ImageDefinitions(tmp_path)
    with pytest.raises(ConfigError, match=FILE):
        definitions.all()
    with pytest.raises(ConfigError, match=FILE):
        definitions.put(a_definition())
    assert (tmp_path / FILE).read_text() == content


def test_a_folder_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    """A file is in its place."""
    (tmp_path / "data").write_text("")
    with pytest.raises(ConfigError, match="cannot be written"):
        ImageDefinitions(tmp_path / "data").put(a_definition())
