"""The window of a script: preview, sliders, progress, cancel and undo.

PyQt6 comes from Siril's Python and is imported only here.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PyQt6.QtCore import Qt, QThread, pyqtSignal
from PyQt6.QtGui import QCloseEvent, QImage, QMouseEvent, QPainter, QPen, QPixmap
from PyQt6.QtWidgets import (
    QApplication,
    QCheckBox,
    QComboBox,
    QFileDialog,
    QFormLayout,
    QGroupBox,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QMainWindow,
    QPlainTextEdit,
    QProgressBar,
    QPushButton,
    QSlider,
    QVBoxLayout,
    QWidget,
)
from sirilpy import SirilError

from astro_sr_siril.delivery import choose_command, deliver, place_beside
from astro_sr_siril.errors import CancelledError, ScriptError
from astro_sr_siril.frame import Frame, Region, as_float
from astro_sr_siril.job import Job, Outcome
from astro_sr_siril.machine import DEVICES, machine_flags
from astro_sr_siril.picture import ScreenStretch, to_bytes
from astro_sr_siril.session import Session
from astro_sr_siril.verb import Choice, Number, Option, Slider, Switch, Text, Values, Verb

__all__ = ["Window", "show"]

_SIDE = 320
_CROP = 200
_STEPS = 100
_NARROW = 30
_MODEL_FILES = "Networks (*.pth *.pt *.tar *.safetensors *.onnx *.param *.bin);;All files (*)"


def show(session: Session, verb: Verb) -> None:
    """Open the window and stay until it is closed."""
    app = QApplication.instance() or QApplication(sys.argv[:1])
    window = Window(session, verb)
    window.show()
    app.exec()


class Worker(QThread):
    """Work beside the window.

    Parameters
    ----------
    work : callable
        Called with a function for progress; what it returns is the result.
    """

    moved = pyqtSignal(str, float)
    done = pyqtSignal(object)
    failed = pyqtSignal(str)

    def __init__(self, work: Callable[[Callable[[str, float], None]], Any]) -> None:
        super().__init__()
        self._work = work

    def run(self) -> None:
        """Do the work; every end emits a signal."""
        try:
            self.done.emit(self._work(self.moved.emit))
        except CancelledError:
            self.failed.emit("")
        except (ScriptError, SirilError) as problem:
            self.failed.emit(str(problem))
        except Exception as error:  # noqa: BLE001  nobody else sees the errors of a thread
            self.failed.emit(f"unexpected {type(error).__name__}: {error}")


class Picture(QLabel):
    """A square picture with a caption under it; clicks are given in parts of its size."""

    clicked = pyqtSignal(float, float)

    def __init__(self, side: int = _SIDE) -> None:
        super().__init__()
        self.setFixedSize(side, side)
        self.setAlignment(Qt.AlignmentFlag.AlignCenter)
        self.setStyleSheet("background: #202020; color: #a0a0a0;")

    def draw(
        self, levels: np.ndarray, box: tuple[float, float, float, float] | None = None
    ) -> None:
        """Show pixels, and a frame given in parts of the picture."""
        height, width, _ = levels.shape
        image = QImage(levels.tobytes(), width, height, 3 * width, QImage.Format.Format_RGB888)
        mode = Qt.TransformationMode.FastTransformation
        if width > self.width() or height > self.height():
            mode = Qt.TransformationMode.SmoothTransformation
        pixmap = QPixmap.fromImage(image).scaled(
            self.size(), Qt.AspectRatioMode.KeepAspectRatio, mode
        )
        if box is not None:
            painter = QPainter(pixmap)
            painter.setPen(QPen(Qt.GlobalColor.yellow, 1))
            x, y, w, h = box
            painter.drawRect(
                round(x * pixmap.width()),
                round(y * pixmap.height()),
                max(round(w * pixmap.width()) - 1, 2),
                max(round(h * pixmap.height()) - 1, 2),
            )
            painter.end()
        self.setPixmap(pixmap)

    def mousePressEvent(self, event: QMouseEvent | None) -> None:  # noqa: N802
        """Say where in the picture the click was."""
        pixmap = self.pixmap()
        if event is None or pixmap.isNull():
            return
        x = (event.position().x() - (self.width() - pixmap.width()) / 2) / pixmap.width()
        y = (event.position().y() - (self.height() - pixmap.height()) / 2) / pixmap.height()
        if 0 <= x <= 1 and 0 <= y <= 1:
            self.clicked.emit(x, y)


class Field:
    """The part of the window that belongs to an option.

    Parameters
    ----------
    option : Option
        What it sets.
    value : object
        What it shows first.
    """

    def __init__(self, option: Option, value: Any) -> None:
        self.option = option
        self._read: Callable[[], Any]
        if isinstance(option, Switch):
            box = QCheckBox()
            box.setChecked(bool(value))
            self.widget: QWidget = box
            self._read = box.isChecked
        elif isinstance(option, Slider):
            self.widget, self._read = _slider(option, float(value))
        elif isinstance(option, Choice):
            combo = QComboBox()
            combo.addItems(option.choices)
            combo.setCurrentText(str(value))
            self.widget = combo
            self._read = combo.currentText
        elif isinstance(option, Text):
            text = QLineEdit(str(value))
            text.setPlaceholderText("automatic")
            self.widget = text
            self._read = lambda: text.text().strip()
        else:
            line = QLineEdit("" if value is None else f"{value:g}")
            line.setPlaceholderText("automatic")
            self.widget = line
            self._read = lambda: _number(option, line.text())
        self.widget.setToolTip(option.help)
        self.widget.setObjectName(option.key)

    @property
    def value(self) -> Any:
        """What is set."""
        return self._read()


class ModelField(QWidget):
    """The model: a name or a file, typed or chosen; empty for the one of the package.

    Parameters
    ----------
    model : str
        What it shows first.
    """

    def __init__(self, model: str) -> None:
        super().__init__()
        self.line = QLineEdit(model)
        self.line.setPlaceholderText("of AstroSR")
        self.line.setToolTip("a name of 'astro-sr models list', or a file of another project")
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.addWidget(self.line)
        self.choose = _button(row, "...", self._choose)
        self.choose.setFixedWidth(_NARROW)
        self.choose.setToolTip("choose a file")

    @property
    def value(self) -> str:
        """What is set."""
        return self.line.text().strip()

    def _choose(self) -> None:
        path, _ = QFileDialog.getOpenFileName(
            self, "A network", self.value or str(Path.home()), _MODEL_FILES
        )
        if path:
            self.line.setText(path)


class Window(QMainWindow):
    """The window of one verb.

    Parameters
    ----------
    session : Session
        Connected with Siril.
    verb : Verb
        What the window does.
    """

    def __init__(self, session: Session, verb: Verb) -> None:
        super().__init__()
        self._session = session
        self._verb = verb
        self._frame: Frame | None = None
        self._centre: tuple[float, float] | None = None
        self._worker: Worker | None = None
        self._job: Job | None = None
        self._done: list[Frame] = []
        self.setWindowTitle(f"AstroSR {verb.title} {verb.version}")
        self._build()
        self._look()

    # ---- what it looks like

    def _build(self) -> None:
        about = QLabel(self._verb.about)
        about.setWordWrap(True)
        page = QVBoxLayout()
        page.addWidget(about)
        self.overview, self.before, self.after = Picture(160), Picture(), Picture()
        self.report = QPlainTextEdit()
        self.report.setReadOnly(True)
        self.report.setMinimumSize(_SIDE, _SIDE)
        pictures = QHBoxLayout()
        if self._verb.result == "report":
            pictures.addWidget(self.report)
        else:
            for caption, picture in (("Before", self.before), ("After", self.after)):
                column = QVBoxLayout()
                column.addWidget(QLabel(caption))
                column.addWidget(picture)
                column.addStretch(1)
                pictures.addLayout(column)
        row = QHBoxLayout()
        row.addLayout(self._controls(), 1)
        row.addLayout(pictures)
        page.addLayout(row)
        self.bar = QProgressBar()
        self.bar.setRange(0, 1000)
        self.state = QLabel()
        self.state.setWordWrap(True)
        page.addWidget(self.bar)
        page.addWidget(self.state)
        page.addLayout(self._buttons())
        middle = QWidget()
        middle.setLayout(page)
        self.setCentralWidget(middle)

    def _controls(self) -> QVBoxLayout:
        column = QVBoxLayout()
        remembered = self._session.settings.get(self._verb.name, {})
        values = {**self._verb.defaults(), **remembered}
        try:
            self._verb.check(values)
        except (ScriptError, TypeError):
            # Of another version, or changed by hand.
            values = self._verb.defaults()
        self.fields = {
            option.key: Field(option, values[option.key]) for option in self._verb.options
        }
        self.whole = QCheckBox("Whole image, not only the selection")
        self.whole.setChecked(bool(values.get("whole", False)))
        self.overwrite = QCheckBox("Replace the file beside the image")
        self.device = QComboBox()
        self.device.addItems(DEVICES)
        self.device.setCurrentText(str(values.get("device", "auto")))
        self.model = ModelField(str(values.get("model", "")))
        form = QFormLayout()
        for field in self.fields.values():
            form.addRow(field.option.label, field.widget)
        if self._verb.network:
            form.addRow("Model", self.model)
            form.addRow("Runs on", self.device)
        box = QGroupBox("Settings")
        box.setLayout(form)
        if form.rowCount():
            column.addWidget(box)
        if not self._verb.whole:
            column.addWidget(self.whole)
        if self._verb.beside:
            column.addWidget(self.overwrite)
        self.choose = QPushButton("Choose the astro-sr command ...")
        self.choose.clicked.connect(self._choose_command)
        column.addWidget(self.choose)
        if self._verb.result != "report":
            column.addWidget(QLabel("Click to move the preview"))
            column.addWidget(self.overview, 0, Qt.AlignmentFlag.AlignHCenter)
            self.overview.clicked.connect(self._move)
        column.addStretch(1)
        return column

    def _buttons(self) -> QHBoxLayout:
        row = QHBoxLayout()
        self.preview = _button(row, "Preview", self._preview)
        doing = "Measure" if self._verb.result == "report" else "Apply"
        self.apply = _button(row, doing, self._apply)
        self.cancel = _button(row, "Cancel", self._cancel)
        self.undo = _button(row, "Undo", self._undo)
        self.shut = _button(row, "Close", self.close)
        self.preview.setVisible(self._verb.result != "report")
        self.undo.setVisible(self._verb.result == "image")
        self._busy(False)
        return row

    def _busy(self, busy: bool) -> None:
        for button in (self.preview, self.apply, self.shut, self.choose):
            button.setEnabled(not busy)
        self.cancel.setEnabled(busy)
        self.undo.setEnabled(not busy and bool(self._done))

    # ---- the image

    def _look(self) -> bool:
        """Read the image of Siril and show it; False if there is none."""
        try:
            self._frame = self._session.read()
        except (ScriptError, SirilError) as problem:
            self._frame = None
            self.state.setText(str(problem))
            return False
        pixels = as_float(self._frame.pixels)
        step = max(1, max(self._frame.shape) // 800)
        self._stretch = self._screen(pixels[..., ::step, ::step])
        crop = self._crop()
        self.before.draw(to_bytes(self._stretch(crop.cut(pixels))))
        height, width = self._frame.shape
        top = height - crop.y - crop.height
        box = (crop.x / width, top / height, crop.width / width, crop.height / height)
        self.overview.draw(to_bytes(self._stretch(pixels[..., ::step, ::step])), box)
        return True

    def _screen(self, pixels: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
        stretched = self._frame is not None and "ASRSTR" in self._frame.header
        return np.nan_to_num if stretched else ScreenStretch(pixels)

    def _crop(self) -> Region:
        """Return the part that is shown: a click, else the selection, else the middle."""
        assert self._frame is not None
        height, width = self._frame.shape
        chosen = self._frame.selection
        if self._centre is not None:
            x, y = self._centre[0] * width, (1 - self._centre[1]) * height
        elif chosen is not None and not self._verb.whole:
            x, y = chosen.x + chosen.width / 2, chosen.y + chosen.height / 2
        else:
            x, y = width / 2, height / 2
        w, h = min(_CROP, width), min(_CROP, height)
        left = round(min(max(x - w / 2, 0), width - w))
        low = round(min(max(y - h / 2, 0), height - h))
        return Region(left, low, w, h)

    def _move(self, x: float, y: float) -> None:
        self._centre = (x, y)
        if self._worker is None and self._look():
            self.after.clear()

    # ---- what the buttons do

    def _preview(self) -> None:
        if not self._look():
            return
        frame = self._frame
        assert frame is not None
        # A curve is taken from all pixels, so a part of the image would be shown by another one.
        region = None if self._verb.whole else self._crop()
        warn = self._session.warn
        self._start(lambda job, tell: job.run(frame, region, progress=tell, warn=warn))
        if self._worker is not None:
            self._worker.done.connect(self._show_preview)

    def _show_preview(self, outcome: Outcome) -> None:
        crop = self._crop()
        inner = crop.within(outcome.region, outcome.scale)
        pixels = inner.cut(outcome.pixels)
        if self._verb.result == "file" or "ASRSTR" in outcome.header:
            shown = pixels
        elif self._verb.name == "unstretch":
            shown = ScreenStretch(outcome.pixels)(pixels)
        else:
            shown = self._stretch(pixels)
        self.after.draw(to_bytes(shown))
        self.state.setText(outcome.report or "Preview done")

    def _apply(self) -> None:
        if not self._look():
            return
        frame = self._frame
        assert frame is not None
        try:
            beside = place_beside(
                self._session, self._verb, frame, None, self.overwrite.isChecked()
            )
        except ScriptError as problem:
            self._tell_failure(str(problem))
            return
        region = None if self._verb.whole or self.whole.isChecked() else frame.selection

        def work(job: Job, tell: Callable[[str, float], None]) -> Outcome:
            outcome = job.run(frame, region, progress=tell, warn=self._session.warn)
            deliver(self._session, self._verb, frame, outcome, beside)
            return outcome

        self._start(work)
        if self._worker is not None:
            self._worker.done.connect(self._show_applied)

    def _show_applied(self, outcome: Outcome) -> None:
        self.report.setPlainText(outcome.report)
        if self._verb.result == "image" and outcome.changed:
            assert self._frame is not None
            self._done.append(self._frame)
            self._look()
            self.after.clear()
        self.state.setText("Done" if self._verb.result == "report" else outcome.report)

    def _start(self, work: Callable[[Job, Callable[[str, float], None]], Outcome]) -> None:
        try:
            values = self._values()
            command = choose_command(self._session)
            model, device = self.model.value, self.device.currentText()
            extra = machine_flags(self._verb, model, device)
            job = Job(self._verb, values, command, extra, window=True)
        except ScriptError as problem:
            self._tell_failure(str(problem))
            return
        kept = {**values, "whole": self.whole.isChecked(), "device": device, "model": model}
        self._session.settings.put(self._verb.name, kept)
        self._job = job
        self._worker = Worker(lambda tell: work(job, tell))
        self._worker.moved.connect(self._show_progress)
        self._worker.failed.connect(self._tell_failure)
        self._worker.finished.connect(self._rest)
        self.state.setText("Working ...")
        self._busy(True)
        self._worker.start()

    def _values(self) -> Values:
        return {key: field.value for key, field in self.fields.items()}

    def _show_progress(self, text: str, fraction: float) -> None:
        self.bar.setValue(round(1000 * fraction))
        self.state.setText(f"{text} ...")
        self._session.progress(text, fraction)

    def _tell_failure(self, text: str) -> None:
        self.state.setText(text or "Cancelled")
        if text:
            self._session.fail(text)

    def _rest(self) -> None:
        self._worker = self._job = None
        self.bar.setValue(0)
        self._session.siril.reset_progress()
        self._busy(False)

    def _cancel(self) -> None:
        if self._job is not None:
            self._job.stop()

    def _undo(self) -> None:
        try:
            self._session.undo(self._done.pop())
        except SirilError as error:
            self._tell_failure(str(error))
            return
        self.state.setText("Undone")
        self._look()
        self.after.clear()
        self._busy(False)

    def _choose_command(self) -> None:
        path, _ = QFileDialog.getOpenFileName(self, "The astro-sr command", str(Path.home()))
        if path:
            try:
                self.state.setText(f"Runs {choose_command(self._session, path).words[0]}")
            except ScriptError as problem:
                self._tell_failure(str(problem))

    def closeEvent(self, event: QCloseEvent | None) -> None:  # noqa: N802
        """Stop the work first."""
        self._cancel()
        if self._worker is not None:
            self._worker.wait()
        super().closeEvent(event)


def _button(row: QHBoxLayout, text: str, action: Callable[[], Any]) -> QPushButton:
    button = QPushButton(text)
    button.clicked.connect(lambda: action())
    row.addWidget(button)
    return button


def _slider(option: Slider, value: float) -> tuple[QWidget, Callable[[], float]]:
    slider, label = QSlider(Qt.Orientation.Horizontal), QLabel()
    slider.setRange(0, _STEPS)
    slider.setMinimumWidth(140)

    def read() -> float:
        return round(option.low + (option.high - option.low) * slider.value() / _STEPS, 4)

    slider.valueChanged.connect(lambda: label.setText(f"{read():.2f}"))
    slider.setValue(round((value - option.low) / (option.high - option.low) * _STEPS))
    label.setText(f"{read():.2f}")
    row = QHBoxLayout()
    row.setContentsMargins(0, 0, 0, 0)
    row.addWidget(slider)
    row.addWidget(label)
    widget = QWidget()
    widget.setLayout(row)
    return widget, read


def _number(option: Option, text: str) -> float | None:
    if not text.strip():
        return None
    try:
        value = float(text)
    except ValueError:
        msg = f"{option.label}: {text!r} is not a number"
        raise ScriptError(msg) from None
    if isinstance(option, Number):
        option.check(value)
    return value
