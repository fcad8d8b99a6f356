"""Collectors against archives in small, served on this machine."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
from PIL import Image

from astro_sr_plugin.cli import main
from astro_sr_plugin.data.galaxy10 import Galaxy10
from astro_sr_plugin.exceptions import AstroSRWarning, ImageReadError, InputError
from astro_sr_plugin.training.collect.archives import object_of
from astro_sr_plugin.training.collect.collect import collect_pictures
from astro_sr_plugin.training.collect.galaxies import collect_galaxies
from astro_sr_plugin.training.collect.patches import make_patches
from astro_sr_plugin.training.pictures.files import read_pictures
from astro_sr_plugin.training.pictures.manifest import read_manifest


def picture(seed, shape=(90, 100)):
    pixels = np.random.default_rng(seed).integers(0, 255, (*shape, 3), dtype=np.uint8)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, format="JPEG")
    return stream.getvalue()


class Site:
    """A server: what it gives for each path, and what it was asked for."""

    def __init__(self):
        self.pages, self.asked, self.times = {}, [], []
        self.before = []  # answers (status, headers, body) that come first, by path
        site = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.0"

            def do_GET(self):  # noqa: N802
                site.asked.append((self.path, dict(self.headers)))
                site.times.append(time.monotonic())
                status, headers, body, length = site.answer(self.path, self.headers.get("Range"))
                self.send_response(status)
                for key, value in headers.items():
                    self.send_header(key, value)
                self.send_header("Content-Length", str(length))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *words):
                del words

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()

    def answer(self, path, wanted):
        for number, (first, status, headers, body) in enumerate(self.before):
            if first == path:
                del self.before[number]
                return status, headers, body, headers.pop("length", len(body))
        body = self.pages.get(path)
        if body is None:
            return 404, {}, b"nothing here", 12
        if wanted:
            start = int(wanted.removeprefix("bytes=").rstrip("-"))
            if start >= len(body):
                return 416, {}, b"", 0
            return 206, {}, body[start:], len(body) - start
        return 200, {}, body, len(body)

    def paths(self):
        return [path for path, _ in self.asked]


@pytest.fixture
def site():
    made = Site()
    yield made
    made.server.shutdown()
    made.server.server_close()


def entry(site, name, title="A galaxy", checksum=None, **changes):
    """An entry of the feed of an archive as that of ESA/Hubble, with the keys that are read."""
    body = site.pages.setdefault(f"/files/{name}.jpg", picture(len(name)))
    resources = [
        {"ResourceType": "Original", "URL": f"{site.url}/files/{name}.tif"},
        {
            "ResourceType": "Large",
            "MediaType": "Image",
            "URL": f"{site.url}/files/{name}.jpg",
            "Checksum": checksum or hashlib.sha256(body).hexdigest(),
        },
    ]
    return {
        "ID": name,
        "Title": title,
        "Credit": "A telescope &amp; <a href='/'>somebody</a>",
        "Rights": "Creative Commons Attribution 4.0 International License",
        "Subject": {"Name": ["NGC 42"]},
        "ReferenceURL": f"{site.url}/images/{name}/",
        "Assets": [{"MediaType": "Image", "Resources": resources}],
    } | changes


def publish(site, *pages):
    for number, entries in enumerate(pages, start=1):
        following = f"{site.url}/images/d2d/?page={number + 1}" if number < len(pages) else None
        path = "/images/d2d/" if number == 1 else f"/images/d2d/?page={number}"
        site.pages[path] = json.dumps({"Next": following, "Collections": entries}).encode()


def take(site, folder, **changes):
    settings = {"count": 9, "least_side": 64, "pause": 0.0, "address": site.url} | changes
    return collect_pictures("esa-hubble", folder, **settings)


def reasons(folder):
    with (folder / "left_out.csv").open(newline="") as stream:
        return {row["name"]: row["reason"] for row in csv.DictReader(stream)}


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_pictures_of_the_sky_come_with_their_credits(site, tmp_path):
    bare = entry(site, "bare", Credit="")
    small = entry(site, "small")
    site.pages["/files/small.jpg"] = body = picture(1, (40, 90))
    small["Assets"][0]["Resources"][1]["Checksum"] = hashlib.sha256(body).hexdigest()
    publish(
        site,
        [
            entry(site, "a1"),
            entry(site, "drawn", "NGC 42 (artist&#39;s impression)"),
            entry(site, "made", Type="Simulation"),
            entry(site, "../outside"),
        ],
        [bare, small, entry(site, "damaged", checksum=64 * "0"), entry(site, "b2")],
    )
    outcome = take(site, tmp_path)
    assert (outcome.taken, outcome.new, outcome.left_out) == (2, 2, 6)
    first, _ = read_manifest(tmp_path)
    assert first["credit"] == "A telescope & somebody"
    assert (first["file"], first["object"], first["license"]) == ("a1.jpg", "NGC 42", "CC-BY-4.0")
    assert first["source"].endswith("/images/a1/")
    assert first["sha256"] == hashlib.sha256((tmp_path / "a1.jpg").read_bytes()).hexdigest()
    why = reasons(tmp_path)
    assert "artist" in why["drawn"]
    assert "Simulation" in why["made"]
    assert "credit" in why["bare"]
    assert "40 pixels" in why["small"]
    assert "checksum" in why["damaged"]
    assert "name" in why["../outside"]
    assert names(tmp_path) == ["a1.jpg", "b2.jpg", "left_out.csv", "manifest.csv"]
    assert not any(path.endswith(".tif") for path in site.paths())


def test_a_stopped_run_goes_on(site, tmp_path):
    nameless = entry(site, "d4", Subject=None, Assets=None)
    publish(site, [entry(site, "a1"), entry(site, "b2"), nameless, entry(site, "c3")])
    assert take(site, tmp_path, count=2).new == 2
    rows = (tmp_path / "manifest.csv").read_text().splitlines()
    own = [f"{row},{note}" for row, note in zip(rows, ("note", "mine", ""), strict=True)]
    (tmp_path / "manifest.csv").write_text("\n".join(own))
    (tmp_path / ".c3.01234567.part").write_bytes(b"half")
    (tmp_path / "b2.jpg").write_bytes(b"damaged")
    site.asked.clear()
    with pytest.warns(AstroSRWarning, match="1 pictures"):
        outcome = take(site, tmp_path)
    assert (outcome.taken, outcome.new) == (3, 2)
    assert "/files/a1.jpg" not in site.paths()
    assert names(tmp_path) == ["a1.jpg", "b2.jpg", "c3.jpg", "left_out.csv", "manifest.csv"]
    assert read_manifest(tmp_path)[0]["note"] == "mine"
    site.asked.clear()
    assert take(site, tmp_path, count=3).new == 0
    assert site.asked == [], "nothing is wanted"


def test_the_rules_of_the_server_hold(site, tmp_path):
    publish(site, [entry(site, "a1"), entry(site, "b2")])
    site.pages["/robots.txt"] = (
        b"User-agent: *\nDisallow: /files/a1\nCrawl-delay: 1\n"
        b"User-agent: astro_sr_plugin\nDisallow: /files/a1\n"
    )
    outcome = take(site, tmp_path, pause=0.02)
    assert (outcome.taken, outcome.left_out) == (1, 1)
    assert "robots.txt" in reasons(tmp_path)["a1"]
    assert "/files/a1.jpg" not in site.paths()
    assert min(np.diff(site.times)) > 0.015
    assert site.asked[0][1]["User-Agent"].startswith("astro_sr_plugin/")
    site.pages["/robots.txt"] = b"User-agent: *\nDisallow: /\n"
    with pytest.raises(InputError, match=r"robots\.txt"):
        take(site, tmp_path / "other")


def test_a_busy_server_is_waited_for_and_a_cut_is_mended(site, tmp_path):
    publish(site, [entry(site, "a1")])
    body = site.pages["/files/a1.jpg"]
    site.before = [
        ("/images/d2d/", 503, {"Retry-After": "0"}, b""),
        ("/images/d2d/", 429, {"Retry-After": "Thu, 01 Jan 1970 00:00:00 GMT"}, b""),
        ("/files/a1.jpg", 200, {"length": len(body)}, body[:100]),
    ]
    assert take(site, tmp_path).taken == 1
    assert (tmp_path / "a1.jpg").read_bytes() == body
    assert [headers.get("Range") for path, headers in site.asked if path == "/files/a1.jpg"] == [
        None,
        "bytes=100-",
    ]


def test_the_command_ends_with_a_sentence(site, tmp_path, capsys):
    words = ["collect", "esa-hubble", "-o", str(tmp_path / "p"), "--url", site.url, "--pause", "0"]
    few = ["--least-side", "64", "--progress", "none"]
    publish(site, [entry(site, "a1")])
    site.pages["/images/d2d/"], page = b"<html>", site.pages["/images/d2d/"]
    assert main([*words, *few]) == 2
    site.pages["/images/d2d/"] = b"{}"
    assert main([*words, *few]) == 2
    del site.pages["/images/d2d/"]
    assert main([*words, *few]) == 2
    site.before = [("/images/d2d/", 503, {"Retry-After": "86400"}, b"")]
    assert main([*words, *few]) == 2
    assert main(["collect", "esa-hubble", "-o", str(tmp_path / "p"), "--pause", "0.1"]) == 2
    assert main([*words, "--count", "0"]) == 2
    (tmp_path / "file").touch()
    assert main([*words[:3], str(tmp_path / "file" / "p"), *words[4:]]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 7
    assert "503" in lines[3]
    assert not list((tmp_path / "p").iterdir())
    site.pages["/images/d2d/"] = page
    assert main([*words, *few, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["taken"] == 1
    site.server.server_close()
    assert main([*words, *few]) == 2
    assert "give the command again" in capsys.readouterr().err


def test_astrobin_gives_pictures_whose_licence_allows_changes(site, tmp_path):
    def image(number, title, **more):
        path = f"/files/{number}.jpg"
        site.pages[path] = picture(number)
        return {
            "pk": number,
            "hash": f"h{number}",
            "title": title,
            "userDisplayName": "An author",
            "thumbnails": [{"url": "http://127.0.0.1:9/no"}, {"url": site.url + path}],
        } | more

    images = [
        image(1, "Messier 101 in spring", license="ATTRIBUTION"),
        image(2, "The Veil", license="ALL_RIGHTS_RESERVED"),
        image(3, "NGC7000 and friends"),
        image(4, "M 31", license=2),
    ]
    site.pages["/api/v2/images/image/3/"] = json.dumps({"license": 5}).encode()
    page = {"next": None, "results": [{"image": image} for image in images]}
    site.pages["/api/v2/iotd/iotd-archive/"] = json.dumps(page).encode()
    outcome = collect_pictures(
        "astrobin", tmp_path, least_side=64, pause=0.0, address=f"{site.url}/"
    )
    assert (outcome.taken, outcome.left_out) == (2, 2)
    rows = read_manifest(tmp_path)
    assert [(row["object"], row["license"]) for row in rows] == [
        ("M 101", "CC-BY-4.0"),
        ("NGC 7000", "CC-BY-SA-4.0"),
    ]
    assert {row["credit"] for row in rows} == {"An author"}
    assert "ALL_RIGHTS_RESERVED" in reasons(tmp_path)["h2"]
    assert "NON_COMMERCIAL" in reasons(tmp_path)["h4"]
    assert not {"/files/2.jpg", "/files/4.jpg"} & set(site.paths())


def test_objects_are_found_in_titles():
    for title, found in (
        ("The core of NGC-253", "NGC 253"),
        ("Sh2-155, the Cave", "SH2 155"),
        ("A comet", "a comet"),
    ):
        assert object_of(title) == found


@pytest.fixture
def galaxy_file(tmp_path):
    h5py = pytest.importorskip("h5py")
    path = tmp_path / "source" / "small.h5"
    path.parent.mkdir()
    pixels = np.random.default_rng(1).integers(0, 255, (20, 32, 32, 3), dtype=np.uint8)
    with h5py.File(path, "w") as file:
        file["images"] = pixels
        file["ans"] = np.arange(20) % 10
        for number, name in enumerate(("ra", "dec", "redshift", "pxscale")):
            file[name] = np.arange(20.0) + number
    return path, pixels


def test_galaxies_are_read_one_by_one(galaxy_file):
    path, pixels = galaxy_file
    with Galaxy10(path) as galaxies:
        assert len(galaxies) == len(list(galaxies)) == 20
        assert np.array_equal(galaxies[-3].pixels, pixels[17])
        galaxy = galaxies[5]
        assert (galaxy.kind, galaxy.ra, galaxy.dec, galaxy.redshift) == (5, 5.0, 6.0, 7.0)
        with pytest.raises(IndexError, match="20"):
            galaxies[20]


def test_other_files_are_refused(galaxy_file, tmp_path):
    h5py = pytest.importorskip("h5py")
    path, _ = galaxy_file
    (tmp_path / "text.h5").write_text("no")
    with h5py.File(path, "a") as file:
        del file["redshift"]
    for name, reason in ((path, "redshift"), (tmp_path / "text.h5", "HDF5"), ("no.h5", "no such")):
        with pytest.raises(ImageReadError, match=reason):
            Galaxy10(name)
    with h5py.File(path, "a") as file:
        file["redshift"] = np.zeros(3)
    with pytest.raises(ImageReadError, match="row of numbers"):
        Galaxy10(path)


def test_a_download_that_was_cut_goes_on(site, galaxy_file, tmp_path):
    path, pixels = galaxy_file
    body = path.read_bytes()
    site.pages["/Galaxy10.h5"] = body
    settings = {"count": 3, "pause": 0.0, "address": f"{site.url}/Galaxy10.h5"}
    folder = tmp_path / "galaxies"
    with pytest.raises(InputError, match="checksum"):
        collect_galaxies(folder, **settings)
    assert names(folder) == []
    (folder / ".Galaxy10.h5.download").write_bytes(body[:5000])
    site.asked.clear()
    settings["sha256"] = hashlib.sha256(body).hexdigest()
    assert collect_galaxies(folder, **settings).new == 3
    assert site.asked[-1][1]["Range"] == "bytes=5000-"
    rows = read_manifest(folder)
    assert [row["file"] for row in rows] == [f"galaxy_{k:05d}.png" for k in (0, 10, 19)]
    assert np.array_equal(np.asarray(Image.open(folder / rows[1]["file"])), pixels[10])
    site.asked.clear()
    assert collect_galaxies(folder, **settings).new == 0
    assert site.asked == []


def test_patches_are_split_by_object(tmp_path):
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    with (pictures / "manifest.csv").open("w", newline="") as stream:
        table = csv.writer(stream)
        table.writerow(["file", "object", "credit", "license"])
        for number in range(9):
            side = 20 if number == 8 else 100
            (pictures / f"{number}.jpg").write_bytes(picture(number, (side, 130)))
            table.writerow([f"{number}.jpg", f"object {number // 2}", "me", "CC0"])
    words = ["collect", "patches", str(pictures), "--size", "32", "--validation", "0.5", "--quiet"]
    assert main([*words, "-o", str(tmp_path / "pairs")]) == 0
    rows = read_manifest(tmp_path / "pairs")
    assert len(rows) == 8 * 4, "two less than twice the patches that fit into the shorter side"
    kept, held_out = (
        {row["object"] for row in rows if row["part"] == part}
        for part in ("training", "validation")
    )
    assert kept
    assert held_out
    assert not kept & held_out
    for row in rows[:3]:
        truth, given = (Image.open(tmp_path / "pairs" / row[key]) for key in ("file", "input"))
        assert (truth.size, given.size) == ((32, 32), (16, 16))
        assert np.asarray(truth).mean() == pytest.approx(np.asarray(given).mean(), abs=3)
    assert read_pictures(tmp_path / "pairs")
    counts = make_patches(pictures, tmp_path / "whole", size=32, whole=True)
    assert (counts["training"] + counts["validation"], counts["too_small"]) == (8, 1)
    with pytest.raises(InputError, match="multiple"):
        make_patches(pictures, tmp_path / "no", size=33)
