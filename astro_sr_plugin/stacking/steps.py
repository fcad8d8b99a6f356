"""The steps of one stack: measure, align, normalise, combine, describe."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from astropy.nddata import CCDData, StdDevUncertainty
from astropy.table import Table

from astro_sr_plugin.data.frames import FrameSequence
from astro_sr_plugin.data.wcs import (
    crop_wcs,
    crop_wcs_header,
    scale_wcs,
    scale_wcs_header,
)
from astro_sr_plugin.exceptions import AstroSRError, InputError, UnchangedWarning, warn
from astro_sr_plugin.measurement.sky.gain import read_gain
from astro_sr_plugin.registration.transform import Transform
from astro_sr_plugin.stacking.alignment import Alignment, align_stars
from astro_sr_plugin.stacking.bands import (
    Light,
    StackSettings,
    combine_band,
    iter_bands,
    margin_of,
    noise_factors,
    plan_bands,
)
from astro_sr_plugin.stacking.calibration import Calibration
from astro_sr_plugin.stacking.checkpoints import Checkpoints
from astro_sr_plugin.stacking.combination import Combined
from astro_sr_plugin.stacking.correlation import (
    NoiseCorrelation,
    drizzled_correlation,
    interpolated_correlation,
)
from astro_sr_plugin.stacking.drizzling import drizzle_frames
from astro_sr_plugin.stacking.masters import MasterMaker, Masters
from astro_sr_plugin.stacking.measuring import FRAME_BYTES, FrameMeasurement, try_frame
from astro_sr_plugin.stacking.normalisation import (
    Normalisation,
    find_normalisation,
    find_weights,
)
from astro_sr_plugin.stacking.options import StackOptions
from astro_sr_plugin.stacking.output_frame import Box, find_box
from astro_sr_plugin.stacking.result import StackResult, make_header
from astro_sr_plugin.stacking.series import StackPlan
from astro_sr_plugin.stacking.super_resolution import (
    enlarge_stack,
    reason_against,
    reason_against_finer_pixels,
    super_resolve_frames,
)
from astro_sr_plugin.stacking.workers import Workers

__all__ = ["Progress", "StackSteps"]

Progress = Callable[[int, int], None]
"""Takes the number of finished steps, and of all."""

_RESULT_BYTES = 18
"""Bytes of the results for each pixel and colour: data, standard deviation, mask, counts."""
_FEW_FRAMES = 5
"""Number of frames below which cosmic rays are looked for in each of them."""


_LARGE = 10_000_000
"""Values of all frames from which copies of the process pay: they take 0.1 s for each step."""


class StackSteps:
    """The steps of one stack."""

    def __init__(
        self,
        plan: StackPlan,
        options: StackOptions,
        checkpoints: Checkpoints | None,
        progress: Progress | None,
    ) -> None:
        self.plan, self.options = plan, options
        self.series = plan.series
        self.checkpoints, self.progress = checkpoints, progress
        self.left_out = dict(self.series.left_out)
        self.done = 0
        self.total = len(self.series.frames)
        sources = plan.sources
        self.maker = MasterMaker(lambda names: FrameSequence([sources[name] for name in names]))
        self.calibrations: dict[int, Calibration] = dict(
            zip(self.series.frames, plan.calibration.calibrations, strict=True)
        )

    def run(self, jobs: int | None, scheduler: Any, strict: bool) -> StackResult:
        """Do all steps."""
        ny, nx = self.series.shape
        large = ny * nx * self.series.planes * len(self.series.frames) >= _LARGE
        with Workers(jobs, scheduler, large=large) as workers:
            return self._run(workers, strict)

    def _run(self, workers: Workers, strict: bool) -> StackResult:
        measured = self._measure(workers)
        if strict and self.left_out:
            raise InputError(self._complaint())
        found = self._align(measured, workers)
        if self.left_out:
            if strict:
                raise InputError(self._complaint())
            warn(self._complaint())
        used = sorted(found.transforms)
        if len(used) < 2:
            msg = f"a stack needs two frames or more; {self._complaint()}"
            raise InputError(msg)
        lights, settings = self._prepare(used, measured, found, workers)
        planes = self._combine(lights, settings, workers)
        correlation = interpolated_correlation(lights, settings)
        if self.options.drizzling is not None:
            scale = self.options.drizzling.scale
            reason = reason_against_finer_pixels(lights, settings) if scale > 1 else ""
            if reason:
                warn(f"drizzle={scale:g} shows no finer detail than the plain stack: {reason}")
            planes = drizzle_frames(lights, settings, planes, self.options.drizzling, self._step)
            correlation = drizzled_correlation(lights, settings, self.options.drizzling, planes)
        elif self.options.super_resolution is not None:
            planes, correlation = self._super_resolve(lights, settings, planes, workers)
        return self._finish(used, measured, found, lights, planes, correlation, settings.box)

    def _step(self) -> None:
        self.done += 1
        if self.progress is not None:
            self.progress(self.done, self.total)

    def _complaint(self) -> str:
        names = self.series.names
        parts = [f"{os.path.basename(names[k])}: {why}" for k, why in sorted(self.left_out.items())]
        total = len(names)
        return f"{len(parts)} of {total} frames are left out ({'; '.join(parts)})"

    def _masters(self, number: int) -> Masters:
        return self.maker.masters(self.calibrations[number])

    def _measure(self, workers: Workers) -> dict[int, FrameMeasurement]:
        """Measure all frames; those that cannot be used are left out."""
        cosmic_rays = self.options.cosmic_rays
        if cosmic_rays is None:
            cosmic_rays = len(self.series.frames) < _FEW_FRAMES
        found: dict[int, FrameMeasurement | str] = {}
        masters: dict[int, Masters] = {}
        for number in self.series.frames:
            kept = None
            if self.checkpoints is not None:
                kept = self.checkpoints.load_measurement(number)
            if kept is None:
                try:
                    masters[number] = self._masters(number)
                    continue
                except AstroSRError as error:
                    kept = str(error)
            found[number] = kept
            self._step()
        series = self.series
        job = ({k: series.frames[k] for k in masters}, masters, series.cfa, cosmic_rays)
        size = series.shape[0] * series.shape[1] * series.planes * FRAME_BYTES
        at_once = max(1, self.options.memory // size)
        for number, result in workers.run(try_frame, job, list(masters), at_once=at_once):
            found[number] = result
            if self.checkpoints is not None:
                self.checkpoints.save_measurement(number, result)
            self._step()
        self.left_out |= {k: one for k, one in sorted(found.items()) if isinstance(one, str)}
        measured = {k: one for k, one in sorted(found.items()) if not isinstance(one, str)}
        if not measured:
            msg = f"no frame can be stacked: {self._complaint()}"
            raise InputError(msg)
        return measured

    def _align(self, measured: dict[int, FrameMeasurement], workers: Workers) -> Alignment:
        """Find the transforms to the reference."""
        numbers = list(measured)
        reference = self.options.reference
        if reference is not None and reference not in measured:
            if not 0 <= reference < len(self.series.names):
                msg = f"reference={reference} is not one of the {len(self.series.names)} frames"
            else:
                why = self.left_out[reference]
                msg = f"the reference {self.series.names[reference]} cannot be used: {why}"
            raise InputError(msg)
        if not self.options.align:
            chosen = reference if reference is not None else _sharpest(measured)
            identity = Transform.identity(self.series.shape)
            return Alignment(chosen, dict.fromkeys(numbers, identity), {})
        found = align_stars(
            [measured[number].stars for number in numbers],
            None if reference is None else numbers.index(reference),
            names=[os.path.basename(self.series.names[number]) for number in numbers],
            wcs=[self.series.frames[number].wcs for number in numbers],
            run=partial(workers.run, at_once=len(numbers)),
        )
        self.left_out |= {numbers[k]: why for k, why in found.left_out.items()}
        transforms = {numbers[k]: transform for k, transform in found.transforms.items()}
        return Alignment(numbers[found.reference], transforms, {})

    def _prepare(
        self,
        used: list[int],
        measured: dict[int, FrameMeasurement],
        found: Alignment,
        workers: Workers,
    ) -> tuple[list[Light], StackSettings]:
        """Put together what each frame needs."""
        series, options = self.series, self.options
        target = measured[found.reference]
        headers = {number: series.frames[number].header for number in used}
        normalisations: dict[int, Normalisation] = {}
        for number in used:
            exposures = (headers[number].exptime, headers[found.reference].exptime)
            normalisations[number] = find_normalisation(
                measured[number],
                target,
                found.transforms[number],
                mode=options.normalise,
                beyond=options.frame == "union",
                exposures=exposures,
            )
        weights = find_weights(
            options.weights,
            [measured[number] for number in used],
            [normalisations[number] for number in used],
            [headers[number] for number in used],
        )
        lights = [
            Light(
                series.frames[number],
                self._masters(number),
                measured[number].excluded,
                found.transforms[number],
                normalisations[number],
                measured[number].noise,
                read_gain(series.frames[number].meta),
                measured[number].fwhm,
                float(weight),
                measured[number].saturation,
            )
            for number, weight in zip(used, weights, strict=True)
        ]
        settings = StackSettings(
            series.shape,
            series.planes,
            series.cfa,
            np.array([sky.background.level for sky in target.sky]),
            np.ones((len(lights), series.planes)),
            np.zeros((len(lights), series.planes)),
            options.combine,
            options.rejection,
            options.limits,
            options.kernel,
        )
        run = workers.run(
            noise_factors, (lights, settings), range(len(lights)), at_once=len(lights)
        )
        factors, neighbours = np.swapaxes([noise for _, noise in sorted(run)], 0, 1)
        settings = replace(settings, factors=factors, neighbours=neighbours)
        return self._choose_pixels(lights, settings)

    def _choose_pixels(
        self, lights: list[Light], settings: StackSettings
    ) -> tuple[list[Light], StackSettings]:
        """Take the pixels of the stack that are asked for."""
        if self.options.frame == "reference":
            return lights, settings
        box = find_box([light.transform for light in lights], self.options.frame)
        size = box.ny * box.nx * settings.planes * _RESULT_BYTES
        if not size:
            msg = "frame='intersection' leaves nothing: no pixel is in all of the frames"
            raise InputError(msg)
        if size > self.options.memory // 2:
            msg = (
                f"frame='union' takes {box.nx} x {box.ny} pixels, and memory for "
                f"{2 * size / 1e9:.2g} GB; raise memory={self.options.memory / 1e9:.2g}GB"
            )
            raise InputError(msg)
        moved = [
            replace(light, transform=light.transform.within(box.y, box.x, box.shape))
            for light in lights
        ]
        own = replace(settings, shape=box.shape, box=box, reference_shape=settings.shape)
        return moved, own

    def _combine(
        self, lights: list[Light], settings: StackSettings, workers: Workers
    ) -> list[Combined]:
        """Combine all bands, and put them together."""
        (ny, nx), planes = settings.shape, settings.planes
        memory = self.options.memory - ny * nx * planes * _RESULT_BYTES
        margin = margin_of(lights, settings)
        rows, at_once, columns = plan_bands(len(lights), settings, margin, memory, workers.jobs)
        settings = replace(settings, columns=columns)
        bands = list(iter_bands(ny, rows))
        self.total = self.done + len(bands)
        if self.options.drizzling is not None:
            self.total += len(lights)
        kinds = (np.float32, np.float32, np.uint16, np.uint16, np.uint16)
        whole = [Combined(*(np.empty((ny, nx), kind) for kind in kinds)) for _ in range(planes)]
        run = partial(workers.run, combine_band, (lights, settings), at_once=at_once)
        kept = self.checkpoints
        results = (
            run(bands) if kept is None else kept.resumed(bands, kept.load_band, kept.save_band, run)
        )
        for band, found in results:
            _insert(whole, band, found)
            self._step()
        return whole

    def _super_resolve(
        self,
        lights: list[Light],
        settings: StackSettings,
        planes: list[Combined],
        workers: Workers,
    ) -> tuple[list[Combined], NoiseCorrelation]:
        """Solve for the image on a finer grid, or enlarge the stack where nothing can be gained."""
        scale = self.options.super_resolution or 1
        reason = reason_against(lights, settings, scale)
        if reason:
            text = f"super-resolution gains nothing: {reason}; the stack is enlarged instead"
            warn(text, UnchangedWarning)
            return enlarge_stack(planes, scale, interpolated_correlation(lights, settings))

        def progress(steps: int) -> Callable[[], None]:
            self.total = self.done + steps
            return self._step

        ny, nx = settings.shape
        memory = self.options.memory - ny * nx * settings.planes * _RESULT_BYTES * (1 + scale**2)
        return super_resolve_frames(
            lights, settings, planes, scale, workers, memory, progress, self.checkpoints
        )

    def _finish(
        self,
        used: list[int],
        measured: dict[int, FrameMeasurement],
        found: Alignment,
        lights: list[Light],
        planes: list[Combined],
        correlation: NoiseCorrelation,
        box: Box | None,
    ) -> StackResult:
        series, options = self.series, self.options
        parts = {
            name: np.stack([getattr(p, name) for p in planes])
            if len(planes) > 1
            else getattr(planes[0], name)
            for name in Combined._fields
        }
        reference = series.frames[found.reference]
        weights = np.array([light.weight for light in lights])
        named = [(series.names[number], series.frames[number].header) for number in used]
        methods: dict[str, Any] = {
            "frames": len(used),
            "combine": options.combine,
            "rejection": options.rejection,
            "limits": list(options.limits),
            "weights": options.weights,
            "normalise": options.normalise,
            "kernel": options.kernel if options.align else None,
        }
        drizzling = options.drizzling
        wcs, meta, scale = reference.wcs, reference.meta, 1.0
        if box is not None:
            wcs = crop_wcs(wcs, box.y, box.x, box.shape)
            meta = crop_wcs_header(meta, box.y, box.x)
            methods["frame"] = options.frame
        if drizzling is not None:
            scale = drizzling.scale
            methods |= {"drizzle": scale, "pixfrac": drizzling.pixfrac}
            methods |= {"drizzle_kernel": drizzling.kernel}
        elif options.super_resolution is not None:
            scale = float(options.super_resolution)
            methods["super_resolve"] = options.super_resolution
        if scale != 1:
            wcs = scale_wcs(wcs, scale)
            meta = scale_wcs_header(meta, scale, shape=planes[0].data.shape)
        header = make_header(
            meta,
            named,
            reference=series.names[found.reference],
            weights=weights,
            correlation=correlation,
            methods=methods,
            scale=scale,
        )
        data = parts["data"]
        deviation = np.sqrt(parts["variance"])
        image = CCDData(
            data,
            unit=reference.unit or "adu",
            mask=~np.isfinite(data),
            uncertainty=StdDevUncertainty(deviation, copy=False),
            wcs=wcs,
            meta=header,
        )
        table = self._table(measured, found, dict(zip(used, lights, strict=True)))
        left_out = {series.names[k]: why for k, why in sorted(self.left_out.items())}
        return StackResult(
            image,
            parts["used"],
            parts["low"],
            parts["high"],
            table,
            left_out,
            series.names[found.reference],
        )

    def _table(
        self,
        measured: dict[int, FrameMeasurement],
        found: Alignment,
        lights: dict[int, Light],
    ) -> Table:
        rows = []
        nan = float("nan")
        for number, name in enumerate(self.series.names):
            one, light = measured.get(number), lights.get(number)
            transform = found.transforms.get(number)
            rows.append(
                {
                    "frame": os.path.basename(name),
                    "used": light is not None,
                    "weight": 0.0 if light is None else light.weight,
                    "scale": nan if light is None else light.normalisation.scale,
                    "scale_error": nan if light is None else light.normalisation.error,
                    "sky": nan if one is None else one.sky[0].background.level,
                    "noise": nan if one is None else float(np.mean(one.noise)),
                    "fwhm": nan if one is None else one.fwhm,
                    "ellipticity": nan if one is None else one.ellipticity,
                    "stars": 0 if one is None else len(one.stars),
                    "shift_x": nan if transform is None else transform.shift[0],
                    "shift_y": nan if transform is None else transform.shift[1],
                    "rotation": nan if transform is None else transform.rotation,
                    "residual": nan if transform is None else float(transform.residual),
                    "excluded": 0 if one is None else int(one.excluded.size),
                    "reason": self.left_out.get(number, ""),
                }
            )
        return Table(rows=rows)


def _insert(whole: list[Combined], band: tuple[int, int], found: list[Combined]) -> None:
    for target, planes in zip(whole, found, strict=True):
        for name in Combined._fields:
            getattr(target, name)[band[0] : band[1]] = getattr(planes, name)


def _sharpest(measured: dict[int, FrameMeasurement]) -> int:
    """Frame of the best signal-to-noise ratio for stars; the first of equal ones."""

    def score(number: int) -> float:
        one = measured[number]
        width = one.fwhm if np.isfinite(one.fwhm) else np.inf
        return width * float(np.mean(one.noise))

    return min(measured, key=lambda number: (score(number), number))
