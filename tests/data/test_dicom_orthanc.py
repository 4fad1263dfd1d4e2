"""Derived series through a PACS: stored in Orthanc, fetched in three ways, unchanged."""

from __future__ import annotations

import email
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pydicom
import pytest
from pydicom.filebase import DicomBytesIO

from contracts.dicom_sources import write_projection, write_stack
from monai_cdiff.data import Derivation, write_derived

PLUGIN = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")
NEEDED = ("Orthanc", "storescu", "storescp", "getscu", "movescu", "unshare", "nsenter", "ip")
DICOM, HTTP, RECEIVER = 4242, 8042, 11112
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not (PLUGIN.exists() and all(map(shutil.which, NEEDED))),
        reason="Orthanc with its DICOMweb plugin, dcmtk or iproute2 is not installed "
        "(Debian: apt-get install orthanc orthanc-dicomweb dcmtk iproute2)",
    ),
]
# Fetches an address with an Accept header and writes the answer's type and body to a file.
FETCH = """
import sys, urllib.request
request = urllib.request.Request(sys.argv[1], headers={"Accept": sys.argv[2]})
with urllib.request.urlopen(request, timeout=60) as answer, open(sys.argv[3], "wb") as file:
    file.write(b"Content-Type: " + answer.headers["Content-Type"].encode() + b"\\r\\n\\r\\n" + answer.read())
"""


class Pacs:
    """Orthanc in a network of its own, since its server would bind every address of this machine."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.processes: list[subprocess.Popen[bytes]] = []
        command = ["unshare", "--net", "sh", "-c", "ip link set lo up && echo up && exec sleep 600"]
        self.network = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        self.processes.append(self.network)
        if self.network.stdout is None or self.network.stdout.readline() != b"up\n":
            self.stop()
            pytest.skip("no network namespace can be made here (unshare --net needs root)")

    def start(self, *command: Any) -> None:
        log = (self.folder / f"{Path(command[0]).name}.log").open("wb")
        self.processes.append(subprocess.Popen(self._inside(command), stdout=log, stderr=subprocess.STDOUT))

    def run(self, *command: Any) -> None:
        done = subprocess.run(self._inside(command), capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"

    def fetch(self, path: str, accept: str = "application/json") -> Any:
        """The answer of the web server: JSON, or the parts of a multipart message."""
        file = self.folder / "answer"
        self.run(sys.executable, "-c", FETCH, f"http://127.0.0.1:{HTTP}{path}", accept, file)
        content = file.read_bytes()
        if accept == "application/json":
            return json.loads(content.split(b"\r\n\r\n", 1)[1])
        return [part.get_payload(decode=True) for part in email.message_from_bytes(content).get_payload()]

    def wait(self) -> None:
        until = time.monotonic() + 60
        while True:
            try:
                self.fetch("/system")
                return
            except AssertionError:
                if time.monotonic() > until:
                    raise
                time.sleep(0.3)

    def stop(self) -> None:
        for process in reversed(self.processes):
            process.terminate()
        for process in self.processes:
            process.wait(30)

    def _inside(self, command: Any) -> list[str]:
        return ["nsenter", f"--net=/proc/{self.network.pid}/ns/net", *map(str, command)]


@pytest.fixture
def pacs(tmp_path: Path) -> Iterator[Pacs]:
    folder = tmp_path / "pacs"
    (folder / "received").mkdir(parents=True)
    settings = {
        "StorageDirectory": str(folder / "db"), "IndexDirectory": str(folder / "db"), "Plugins": [str(PLUGIN)],
        "DicomAet": "ORTHANC", "DicomPort": DICOM, "HttpPort": HTTP, "AuthenticationEnabled": False,
        "DicomAlwaysAllowGet": True, "DicomAlwaysAllowMove": True,
        "DicomModalities": {
            "receiver": ["RECEIVER", "127.0.0.1", RECEIVER],
            "client": {"AET": "CLIENT", "Host": "127.0.0.1", "Port": 104, "AllowGet": True, "AllowMove": True},
        },
    }  # fmt: skip
    (folder / "orthanc.json").write_text(json.dumps(settings))
    server = Pacs(folder)
    try:
        server.start("Orthanc", folder / "orthanc.json")
        server.start("storescp", "-aet", "RECEIVER", "-od", folder / "received", RECEIVER)
        server.wait()
        yield server
    finally:
        server.stop()


def _contents(datasets: Any) -> dict[str, bytes]:
    return {str(dataset.SOPInstanceUID): dataset.PixelData for dataset in datasets}


@pytest.mark.parametrize("kind", ["MR", "CT", "DX", "CR"])
def test_row20_a_series_comes_back_from_a_pacs_as_it_went(tmp_path: Path, pacs: Pacs, kind: str) -> None:
    write = write_stack if kind in ("MR", "CT") else write_projection
    values, affine, record = write(tmp_path / "in", kind)
    path = write_derived(values, affine, record, tmp_path / "out", Derivation("made finer", "sr", {"seed": 3}))
    files = [path] if path.is_file() else sorted(path.iterdir())
    sent = [pydicom.dcmread(file) for file in files]
    expected = _contents(sent)
    study, series = sent[0].StudyInstanceUID, sent[0].SeriesInstanceUID

    pacs.run("storescu", "-aec", "ORTHANC", "127.0.0.1", DICOM, *record.files, *files)
    assert [len(pacs.fetch(f"/{level}")) for level in ("patients", "studies", "series")] == [1, 1, 2]

    query = ["-S", "-k", "QueryRetrieveLevel=SERIES", "-k", f"StudyInstanceUID={study}"]
    query += ["-k", f"SeriesInstanceUID={series}", "-aet", "CLIENT", "-aec", "ORTHANC"]
    got, moved = tmp_path / "got", pacs.folder / "received"
    got.mkdir()
    pacs.run("getscu", *query, "-od", got, "127.0.0.1", DICOM)
    pacs.run("movescu", *query, "-aem", "RECEIVER", "127.0.0.1", DICOM)
    for folder in (got, moved):
        found = [pydicom.dcmread(file, force=True) for file in folder.iterdir()]
        assert _contents(found) == expected and {dataset.SeriesInstanceUID for dataset in found} == {series}

    parts = pacs.fetch(f"/dicom-web/studies/{study}/series/{series}", 'multipart/related; type="application/dicom"')
    assert _contents(pydicom.dcmread(DicomBytesIO(part)) for part in parts) == expected
