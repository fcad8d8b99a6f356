"""Run a recipe on the workers of Dask: as single tasks, and as a batch that can be resumed."""

from __future__ import annotations

from distributed import Client, LocalCluster
from frames import make_frames

import astro_sr_plugin as asr

RECIPE = asr.Recipe(({"verb": "deconvolve", "extended": 0.8},))


def main() -> None:
    """Use a cluster on this machine; an address of a scheduler does the same."""
    folder = make_frames().absolute()
    with (
        LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster,
        Client(cluster) as client,
    ):
        paths = [str(path) for path in sorted(folder.glob("*.fits"))]
        for sharp in client.gather(client.map(RECIPE.apply, paths)):
            print(f"{sharp.meta['ASRFWHMI']:.2f} -> {sharp.meta['ASRFWHMO']:.2f} px")

        summary = asr.run_batch(folder, "results", RECIPE, scheduler=client)
        print(summary.to_text())
        assert not summary.failed
    # A second run, here without Dask, finds that all is done.
    again = asr.run_batch(folder, "results", RECIPE)
    assert again.counts["skipped"] == 4


if __name__ == "__main__":
    main()
