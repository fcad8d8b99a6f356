"""Batches: same results wherever they run, and nothing is done twice or taken on trust."""

from __future__ import annotations

import json
import multiprocessing
import os
import pickle
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import psutil
import pytest
from astropy.io import fits

import astro_sr_plugin as asr
from astro_sr_plugin.batch.recipe import make_recipe
from astro_sr_plugin.batch.work import FrameResult, Task, work

RECIPE = ({"verb": "denoise", "strength": 0.8}, {"verb": "deconvolve", "stars": 0.5, "force": True})
JOURNAL = "astro-sr-batch.jsonl"


def statuses(summary: object) -> list[str]:
    return [frame.status for frame in summary.frames]


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.glob("[!.]*.fits")}


@pytest.fixture
def done(lights: Path, finished: Path) -> Path:
    """Return the folder of results of a finished batch."""
    return shutil.copytree(finished, lights.parent / "done")


def test_results_are_those_of_the_verbs(lights: Path, tmp_path: Path) -> None:
    reports = []
    summary = asr.run_batch(
        lights, tmp_path / "out", RECIPE, notify=lambda *news: reports.append(news)
    )
    assert statuses(summary) == ["done"] * 3
    assert [(done, total) for _, done, total in reports] == [(1, 3), (2, 3), (3, 3)]
    for frame in summary.frames:
        assert frame.output.name == f"{frame.input.stem}_denoised_sharp.fits"
        image = asr.denoise(asr.read_image(frame.input), strength=0.8)
        np.testing.assert_array_equal(
            fits.getdata(frame.output), asr.deconvolve(image, stars=0.5, force=True).data
        )
        assert frame.figure("ASRFWHMI") > frame.figure("ASRFWHMO", last=True) > 0
        assert frame.shape == (96, 96)
    names = {f"light_{i}_denoised_sharp.fits" for i in (1, 2, 3)}
    assert {path.name for path in (tmp_path / "out").iterdir()} == names | {JOURNAL}


def test_finished_results_are_skipped_by_content(lights: Path, done: Path) -> None:
    before = contents(done)
    # Dates do not count.
    for path in lights.iterdir():
        os.utime(path, (1, 1))
    assert statuses(asr.run_batch(lights, done, ["denoise"])) == ["skipped"] * 3
    # Names do not count either: another image under an old name is not taken for done.
    first, second = lights / "light_1.fits", lights / "light_2.fits"
    kept = first.read_bytes()
    first.write_bytes(second.read_bytes())
    second.write_bytes(kept)
    summary = asr.run_batch(lights, done, ["denoise"])
    assert statuses(summary) == ["failed", "failed", "skipped"]
    assert "another input" in summary.frames[0].message
    assert contents(done) == before
    summary = asr.run_batch(lights, done, ["denoise"], overwrite=True)
    assert statuses(summary) == ["done", "done", "skipped"]
    swapped = contents(done)
    same = {name: fits.HDUList.fromstring(swapped[name])[0].data for name in swapped}
    was = {name: fits.HDUList.fromstring(before[name])[0].data for name in before}
    np.testing.assert_array_equal(same["light_1_denoised.fits"], was["light_2_denoised.fits"])


def test_another_recipe_is_another_result(lights: Path, done: Path) -> None:
    steps = [{"verb": "denoise", "strength": 0.5}]
    summary = asr.run_batch(lights, done, steps)
    assert statuses(summary) == ["failed"] * 3
    assert all("recipe" in frame.message for frame in summary.failed)
    assert statuses(asr.run_batch(lights, done, steps, ending="half")) == ["done"] * 3
    assert statuses(asr.run_batch(lights, done, ["denoise"])) == ["skipped"] * 3


def test_damaged_and_foreign_files_are_not_taken_for_done(lights: Path, done: Path) -> None:
    damaged, foreign = done / "light_1_denoised.fits", done / "light_2_denoised.fits"
    bytes_before = contents(done)
    damaged.write_bytes(damaged.read_bytes()[:-2880])
    foreign.write_text("my notes")
    summary = asr.run_batch(lights, done, ["denoise"])
    assert statuses(summary) == ["failed", "failed", "skipped"]
    assert "damaged" in summary.frames[0].message
    assert "overwrite=True" in summary.frames[0].message
    assert foreign.read_text() == "my notes"
    assert statuses(asr.run_batch(lights, done, ["denoise"], overwrite=True)) == [
        "done",
        "done",
        "skipped",
    ]
    data = fits.HDUList.fromstring(bytes_before[damaged.name])[0].data
    np.testing.assert_array_equal(fits.getdata(damaged), data)


def test_a_file_that_no_batch_wrote(lights: Path, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    folder.mkdir()
    asr.denoise(lights / "light_1.fits", out=folder / "light_1_denoised.fits")
    summary = asr.run_batch(lights, folder, ["denoise"])
    assert statuses(summary) == ["failed", "done", "done"]
    assert "no batch" in summary.frames[0].message


def test_a_torn_journal_loses_one_line_at_most(lights: Path, done: Path) -> None:
    journal = done / JOURNAL
    journal.write_bytes(journal.read_bytes()[:-40])
    (done / "light_3_denoised.fits").unlink()
    assert statuses(asr.run_batch(lights, done, ["denoise"])) == ["skipped", "skipped", "done"]
    assert statuses(asr.run_batch(lights, done, ["denoise"])) == ["skipped"] * 3


def test_results_beside_the_images_are_not_images(lights: Path) -> None:
    for expected in ("done", "skipped"):
        summary = asr.run_batch(lights, lights, ["denoise"])
        assert statuses(summary) == [expected] * 3


@pytest.mark.parametrize("jobs", [1, 2])
def test_one_bad_image_does_not_stop_the_others(
    jobs: int, lights: Path, done: Path, tmp_path: Path
) -> None:
    (lights / "broken.fits").write_text("not an image")
    fits.PrimaryHDU(np.zeros((96, 96), np.float32)).writeto(lights / "black.fits")
    listed = tmp_path / "night.txt"
    paths = [*sorted(lights.iterdir()), lights / "gone.fits"]
    listed.write_text("\n".join(map(str, paths)))
    summary = asr.run_batch(listed, tmp_path / "out", ["denoise"], jobs=jobs)
    assert statuses(summary) == ["failed", "failed", "done", "done", "done", "failed"]
    assert summary.counts == {"done": 3, "skipped": 0, "failed": 3, "pending": 0}
    assert all(frame.message for frame in summary.failed)
    assert contents(tmp_path / "out") == contents(done)


@pytest.mark.parametrize("suffix", [".xisf", ".tif", ".fits.fz", ".fits.gz"])
def test_formats(suffix: str, lights: Path, tmp_path: Path) -> None:
    image = lights / "light_1.fits"
    for expected in ("done", "skipped"):
        summary = asr.run_batch(image, tmp_path / "out", RECIPE, suffix=suffix)
        assert statuses(summary) == [expected]
    (frame,) = summary.frames
    assert frame.output.name == f"light_1_denoised_sharp{suffix}"
    assert asr.read_image(frame.output).shape == (96, 96)


def test_a_dry_run_changes_nothing_and_counts_each_image_once(
    lights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    inputs = [lights, "lights/*.fits", Path("lights") / "light_1.fits"]
    summary = asr.run_batch(inputs, tmp_path / "out", ["denoise"], dry_run=True)
    assert statuses(summary) == ["pending"] * 3
    assert not (tmp_path / "out").exists()


def test_what_is_refused_before_any_work(lights: Path, tmp_path: Path) -> None:
    for options in ({"jobs": 0}, {"suffix": ".png"}, {"ending": "a/b"}):
        with pytest.raises(asr.InputError):
            asr.run_batch(lights, tmp_path / "out", ["denoise"], **options)
    with pytest.raises(asr.OutputError):
        asr.run_batch(lights, lights / "light_1.fits", ["denoise"])
    with pytest.raises(asr.OutputError):
        asr.run_batch(lights, tmp_path / "no" / "out", ["denoise"])
    assert not (tmp_path / "out").exists()


def test_the_summary_for_people_and_programs(lights: Path, done: Path) -> None:
    (lights / "a.fits").write_text("not an image")
    summary = asr.run_batch(lights, done, ["denoise"])
    text, table = summary.to_text(), summary._repr_html_()
    for frame in summary.frames:
        assert frame.input.name in text
        assert frame.input.name in table
    assert "3 skipped, 1 failed" in text
    record = json.loads(json.dumps(summary.to_dict()))
    assert record["counts"]["failed"] == 1
    assert record["recipe"] == [{"verb": "denoise"}]
    assert [entry["status"] for entry in record["results"]] == statuses(summary)
    table = summary.to_table()
    assert list(table["status"]) == statuses(summary)
    assert table.meta["counts"] == summary.counts
    assert np.isnan(table["seconds"]).all()


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="sends a POSIX signal")
def test_a_process_that_dies_takes_nothing_along(lights: Path, tmp_path: Path) -> None:
    def kill_one(result: FrameResult, done: int, total: int) -> None:
        if done == 1:
            os.kill(multiprocessing.active_children()[0].pid, signal.SIGKILL)

    summary = asr.run_batch(lights, tmp_path / "out", RECIPE, jobs=2, notify=kill_one)
    assert statuses(summary) == ["done"] * 3, summary.to_text()
    assert len(contents(tmp_path / "out")) == 3


def test_what_a_dead_process_left_is_not_in_the_way(lights: Path, tmp_path: Path) -> None:
    plan = make_recipe(["denoise"])
    task = Task(
        lights / "light_1.fits", tmp_path / "out.fits", tmp_path / "staged.fits", plan, "identity"
    )
    first, _, sha256 = work(task)
    second, _, again = work(task)
    assert (first.status, second.status) == ("done", "done"), second.message
    assert sha256 == again


@pytest.mark.slow
def test_dask_does_the_same(lights: Path, done: Path, tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        """
import astro_sr_plugin as asr
from distributed import Client, LocalCluster

def main():
    options = dict(n_workers=1, threads_per_worker=1, dashboard_address=None)
    # The one with an address has its worker in this process; "local" starts a process of its own.
    options |= dict(processes=False, protocol="tcp://")
    with LocalCluster(**options) as cluster, Client(cluster) as client:
        for out, scheduler in (("local", "local"), ("address", cluster.scheduler_address)):
            summary = asr.run_batch("lights", out, ["denoise"], scheduler=scheduler)
            print(summary.to_text())
            assert summary.counts["done"] == 3
            assert client.submit(int, 1).result() == 1, "the client still works"

if __name__ == "__main__":
    main()
"""
    )
    ran = subprocess.run(
        [sys.executable, script], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stderr
    for out in ("local", "address"):
        assert contents(tmp_path / out) == contents(done)


def test_dask_that_is_not_there(lights: Path, tmp_path: Path) -> None:
    with pytest.raises(asr.InputError, match="nonsense://x"):
        asr.run_batch(lights, tmp_path / "out", ["denoise"], scheduler="nonsense://x")


def test_threads_of_a_worker(lights: Path, tmp_path: Path) -> None:
    import torch

    image = lights / "light_1.fits"
    recipe = asr.Recipe(("denoise",))
    before = torch.get_num_threads()
    try:
        for threads in (1, 2):
            task = Task(image, tmp_path / "o", tmp_path / "s.fits", recipe, "", threads=threads)
            result, _, _ = work(pickle.loads(pickle.dumps(task)))
            assert result.status == "done", result.message
            assert torch.get_num_threads() == threads
            task.staged.unlink()
        torch.set_num_threads(2)
        work(Task(image, tmp_path / "o", tmp_path / "s.fits", recipe, ""))
        assert torch.get_num_threads() == 2, "without a number the threads stay"
    finally:
        torch.set_num_threads(before)


def test_results_travel_between_processes(lights: Path, done: Path) -> None:
    frame = asr.run_batch(lights, done, ["denoise"]).frames[0]
    assert isinstance(pickle.loads(pickle.dumps(frame)), FrameResult)


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="sends a POSIX signal")
@pytest.mark.parametrize("jobs", [1, 2])
def test_a_killed_run_goes_on(jobs: int, lights: Path, tmp_path: Path) -> None:
    for seed in range(4, 8):
        (lights / f"light_{seed}.fits").write_bytes((lights / "light_1.fits").read_bytes())
    command = [sys.executable, "-m", "astro_sr_plugin", "batch", lights, "-o", tmp_path / "out"]
    command += ["--denoise", "--stretch", "--progress", "line", "--jobs", str(jobs)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        assert process.stderr.readline().startswith("Progress:")
        workers = psutil.Process(process.pid).children()
        process.kill()
        process.wait(60)
        process.stderr.close()
    _, alive = psutil.wait_procs(workers, timeout=60)
    assert not alive, "nobody works for a parent that is gone"
    finished = set(contents(tmp_path / "out"))
    assert finished
    summary = asr.run_batch(lights, tmp_path / "out", ["denoise", "stretch"])
    assert {f.output.name for f in summary.frames if f.status == "skipped"} == finished
    assert not summary.failed
