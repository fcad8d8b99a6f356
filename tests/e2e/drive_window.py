"""Runs in Siril's own Python, in a Siril with windows: clicks through the window of a script.

Arguments: the folder of the scripts, a script, a folder for pictures, and perhaps a model. Writes
what it saw to ``SCRIPT.json`` there. Not a test itself; test_window.py starts it.
"""

from __future__ import annotations

import json
import os
import runpy
import sys
import time
from pathlib import Path

# Siril takes a script that another script starts for one without windows.
os.environ.pop("SIRIL_PYTHON_CLI", None)
scripts, name, out = Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3])
sys.path.insert(0, str(scripts))

import numpy as np  # noqa: E402
import sirilpy as s  # noqa: E402
from astro_sr_siril.session import Session  # noqa: E402
from astro_sr_siril.window import Window  # noqa: E402
from PyQt6.QtCore import Qt  # noqa: E402
from PyQt6.QtTest import QTest  # noqa: E402
from PyQt6.QtWidgets import QApplication, QSlider  # noqa: E402

app = QApplication(sys.argv[:1])
siril = s.SirilInterface()
siril.connect()
seen: dict[str, object] = {"headless": siril.is_cli()}


def click(button: object) -> None:
    QTest.mouseClick(button, Qt.MouseButton.LeftButton)


def wait(condition: object, limit: float = 240) -> None:
    end = time.monotonic() + limit
    while not condition():
        app.processEvents()
        time.sleep(0.02)
        if time.monotonic() > end:
            raise TimeoutError


def idle() -> bool:
    return window._worker is None


def shoot(what: str) -> None:
    app.processEvents()
    window.grab().save(str(out / f"{name}_{what}.png"))


def pixels() -> np.ndarray:
    return siril.get_image_pixeldata()


try:
    verb = next(
        value
        for value in runpy.run_path(str(scripts / f"{name}.py"), run_name="looked_at").values()
        if type(value).__name__ == "Verb"
    )
    window = Window(Session(siril), verb)
    window.show()
    original = pixels()
    seen["dtype"] = str(original.dtype)
    seen["header"] = siril.get_image_fits_header()
    shoot("opened")
    if "denoise" in window.fields:
        window.fields["denoise"].widget.click()
    slider = window.findChild(QSlider)
    if slider is not None:
        slider.setValue(slider.value() - 20)
    if len(sys.argv) > 4:
        window.model.line.setText(sys.argv[4])
    if verb.result != "report":
        click(window.preview)
        seen["busy"] = [window.cancel.isEnabled(), window.apply.isEnabled()]
        wait(idle)
        seen["preview"] = window.state.text()
        seen["unchanged by preview"] = bool(np.array_equal(pixels(), original))
        seen["drawn"] = not window.after.pixmap().isNull()
        shoot("preview")

    click(window.apply)
    wait(lambda: window.state.text() != "Working ..." or idle())
    click(window.cancel)
    wait(idle)
    seen["cancelled"] = window.state.text()
    seen["unchanged by cancel"] = bool(np.array_equal(pixels(), original))

    click(window.apply)
    wait(idle)
    seen["applied"] = window.state.text()
    applied = pixels()
    seen["applied shape"] = applied.shape
    seen["applied dtype"] = str(applied.dtype)
    seen["header after"] = siril.get_image_fits_header()
    seen["history after"] = siril.get_image_history()
    np.save(out / f"{name}_applied.npy", applied)
    shoot("applied")
    siril.cmd("save", f'"{out / (name + "_applied")}"')
    if verb.result == "image":
        click(window.undo)
        seen["undone"] = window.state.text()
        back = pixels()
        seen["undone dtype"] = str(back.dtype)
        seen["undone equal"] = bool(np.array_equal(back, original))
        seen["header undone"] = siril.get_image_fits_header()
        shoot("undone")
    click(window.shut)
    again = Window(Session(siril), verb)
    seen["remembered"] = {key: field.value for key, field in again.fields.items()}
    seen["model"] = again.model.value
    seen["complete"] = True
except BaseException as error:  # noqa: BLE001  the test reads it
    seen["error"] = repr(error)
finally:
    part = out / f"{name}.part"
    part.write_text(json.dumps(seen, indent=1))
    part.rename(out / f"{name}.json")
