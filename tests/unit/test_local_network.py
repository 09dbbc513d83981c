"""The network's own file."""

import json
from pathlib import Path
from typing import Any

import pytest

from tier_local.errors import BadInput
from tier_local.network import Network


def fields(**changes: Any) -> dict[str, Any]:
    site = {"name": "hospital-1", "data_folder": "data/one"}
    return {"name": "aurora", "sites": [site], "model_cache": "/models"} | changes


def read(folder: Path, content: object) -> Network:
    file = folder / "network.json"
    file.write_text(json.dumps(content))
    return Network.read(file)


def test_relative_folders_start_at_the_file(tmp_path: Path) -> None:
    network = read(tmp_path, fields())
    assert network.sites[0].data_folder == tmp_path.resolve() / "data/one"
    assert network.model_cache == Path("/models")
    assert network.threads_per_site == 1


def test_a_deployed_network_names_its_kit_and_no_data(tmp_path: Path) -> None:
    sites = [{"name": name} for name in ("one", "two", "three")]
    deployed = {"name": "aurora", "environment": "production", "admin_kit": "admin", "sites": sites}
    assert read(tmp_path, deployed).admin_kit == tmp_path.resolve() / "admin"
    assert read(tmp_path, deployed).sites_that_must_answer == 3
    patient = read(tmp_path, deployed | {"least_sites": 2, "answer_seconds": 60})
    assert patient.sites_that_must_answer == 2


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"sites": []}, "sites"),
        ({"sites": [{"name": "server", "data_folder": "x"}]}, "cannot be named 'server'"),
        ({"sites": [{"name": "a b", "data_folder": "x"}]}, "sites.0.name"),
        ({"sites": [{"name": "a;rm", "data_folder": "x"}]}, "sites.0.name"),
        ({"sites": [{"name": "a", "data_folder": "x"}] * 2}, "each site has its own name"),
        ({"threads_per_site": 0}, "threads_per_site"),
        ({"environment": "moon"}, "environment"),
        ({"environment": "production"}, "admin_kit"),
        ({"environment": "poc", "model_cache": None}, "the poc needs the folder of base models"),
        ({"environment": "poc", "sites": [{"name": "a"}]}, "the poc needs the data_folder of 'a'"),
        ({"model_cache": None}, "model_cache"),
        ({"sites": [{"name": "a"}]}, "data_folder of 'a'"),
        ({"least_sites": 2}, "there are fewer sites"),
        ({"least_sites": 1, "sites": [{"name": n, "data_folder": "x"} for n in "ab"]}, "answer_seconds"),
        ({"secret": 1}, "secret"),
    ],
)
def test_a_wrong_field_is_named(tmp_path: Path, changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(BadInput) as refusal:
        read(tmp_path, fields(**changes))
    assert reason in str(refusal.value)


def test_a_missing_or_broken_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="cannot read the network file"):
        Network.read(tmp_path / "absent.json")
    (tmp_path / "broken.json").write_text("{")
    with pytest.raises(BadInput, match="Invalid JSON"):
        Network.read(tmp_path / "broken.json")
