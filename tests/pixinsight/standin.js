// A small stand-in for PixInsight: the few PJSR objects that the AstroSR scripts use, run in Node.
//
//    node standin.js scenario.json          run a script; the state afterwards goes to state.json
//    node standin.js --syntax script.js     parse a script
//
// Processes and files are real. Objects know the members that PixInsight has and the scripts use;
// any other member is an error, so that a slip of the pen does not pass. XISF files are read and
// written here from the specification, independently of the package.
"use strict";

const childProcess = require("node:child_process");
const fs = require("node:fs");
const os = require("node:os");
const path = require("node:path");
const vm = require("node:vm");

// --- The preprocessor ------------------------------------------------------------------------

function preprocess(file) {
  const known = /^#(engine\s+v8|feature-(id|icon|info)\s+.+)$/;
  return fs.readFileSync(file, "utf8").split("\n").map((line) => {
    const include = /^#include "([^"]+)"$/.exec(line);
    if (include) return preprocess(path.join(path.dirname(file), include[1]));
    if (!line.startsWith("#")) return line;
    if (!known.test(line)) throw new Error(`${file}: unknown directive: ${line}`);
    return "";
  }).join("\n");
}

// --- Objects that know their members -----------------------------------------------------------

const checkMembers = {
  get(target, name, receiver) {
    if (typeof name === "string" && !(name in target) && name !== "then") {
      throw new TypeError(`${target.constructor.name} has no member '${name}'`);
    }
    return Reflect.get(target, name, receiver);
  },
  set(target, name, value, receiver) {
    const own = Object.hasOwn(target.constructor, "core");
    if (own && !(name in target)) {
      throw new TypeError(`${target.constructor.name} has no member '${name}'`);
    }
    return Reflect.set(target, name, value, receiver);
  },
};

// `core` marks the classes of PixInsight; those that a script derives may have further members.
class Strict {}

function constants(entries) {
  return new Proxy(Object.freeze(entries), checkMembers);
}

// --- XISF --------------------------------------------------------------------------------------

const SAMPLES = { UInt8: [1, 255], UInt16: [2, 65535], UInt32: [4, 4294967295], Float32: [4], Float64: [8] };
const ENTITIES = { lt: "<", gt: ">", quot: '"', apos: "'", amp: "&" };
const decode = (text) => text.replace(/&(lt|gt|quot|apos|amp);/g, (_, name) => ENTITIES[name])
  .replace(/&#(\d+);/g, (_, code) => String.fromCodePoint(Number(code)));
const encode = (text) => String(text).replace(/[<>&"']/g, (c) => `&#${c.codePointAt(0)};`);

function attributes(tag) {
  const found = {};
  for (const [, name, , value] of tag.matchAll(/([\w:]+)=("|')(.*?)\2/gs)) found[name] = decode(value);
  return found;
}

function sampleAccess(format) {
  const kind = { UInt8: "UInt8", UInt16: "UInt16LE", UInt32: "UInt32LE", Float32: "FloatLE", Float64: "DoubleLE" }[format];
  return [Buffer.prototype[`read${kind}`], Buffer.prototype[`write${kind}`]];
}

function readXISF(file, normalize) {
  const raw = fs.readFileSync(file);
  if (raw.toString("latin1", 0, 8) !== "XISF0100") throw new Error(`${file} is not XISF`);
  const xml = raw.toString("utf8", 16, 16 + raw.readUInt32LE(8));
  const header = attributes(/<Image\b[^>]*>/s.exec(xml)[0]);
  const [width, height, numberOfChannels] = header.geometry.split(":").map(Number);
  const [bytes, scale] = SAMPLES[header.sampleFormat];
  const isReal = scale === undefined;
  const [, position, size] = header.location.split(":").map(Number);
  const samples = new Float64Array(width * height * numberOfChannels);
  if (size !== samples.length * bytes) throw new Error(`${file}: ${size} bytes of pixels`);
  if (isReal && header.bounds === undefined) throw new Error(`${file}: floating point without bounds`);
  const read = sampleAccess(header.sampleFormat)[0];
  const [low, high] = (header.bounds ?? "0:1").split(":").map(Number);
  for (let i = 0; i < samples.length; ++i) {
    let value = read.call(raw, position + i * bytes);
    if (!isReal) value /= scale;
    else if (normalize) value = (Math.min(high, Math.max(low, value)) - low) / (high - low);
    samples[i] = value;
  }
  return {
    keywords: [...xml.matchAll(/<FITSKeyword\b[^>]*>/gs)].map(([tag]) => {
      const { name, value, comment } = attributes(tag);
      return { name, value, comment };
    }),
    properties: [...xml.matchAll(/<Property\b[^>]*>/gs)].map(([tag]) => attributes(tag).id)
      .filter((id) => !id.startsWith("XISF:")),
    image: new Image(width, height, numberOfChannels, bytes * 8, isReal, header.colorSpace === "RGB", samples),
  };
}

function writeXISF(file, image, keywords, properties) {
  const format = (image.isReal ? "Float" : "UInt") + image.bitsPerSample;
  const [bytes, scale] = SAMPLES[format];
  const write = sampleAccess(format)[1];
  const block = Buffer.alloc(image.samples.length * bytes);
  image.samples.forEach((value, i) => write.call(block, image.isReal ? value : Math.round(value * scale), i * bytes));
  const start = 65536;
  const bounds = image.isReal ? ' bounds="0:1"' : "";
  const xml = `<?xml version="1.0" encoding="UTF-8"?>
<xisf version="1.0" xmlns="http://www.pixinsight.com/xisf"><Image id="copy" geometry="${image.width}:${image.height}:${image.numberOfChannels}" sampleFormat="${format}"${bounds} colorSpace="${image.isColor ? "RGB" : "Gray"}" location="attachment:${start}:${block.length}">${
    keywords.map((k) => `<FITSKeyword name="${encode(k.name)}" value="${encode(k.value)}" comment="${encode(k.comment)}"/>`).join("")}${
    properties.map((id) => `<Property id="${id}" type="String">stored</Property>`).join("")}</Image></xisf>`;
  const head = Buffer.alloc(start);
  head.write("XISF0100", "latin1");
  head.writeUInt32LE(Buffer.byteLength(xml), 8);
  head.write(xml, 16, "utf8");
  fs.writeFileSync(file, Buffer.concat([head, block]));
}

// --- Images, views, windows --------------------------------------------------------------------

class Image extends Strict {
  static core = true;

  constructor(width, height, numberOfChannels, bitsPerSample, isReal, isColor, samples) {
    super();
    Object.assign(this, { width, height, numberOfChannels, bitsPerSample, isReal, isColor, isComplex: false });
    this.writable = null;
    this.samples = samples ?? new Float64Array(width * height * numberOfChannels);
    return new Proxy(this, checkMembers);
  }

  get hasAlphaChannels() { return this.numberOfChannels > (this.isColor ? 3 : 1); }

  check() {
    if (this.writable && !this.writable()) throw new Error("the image is not open for writing: beginProcess()");
  }

  assign(other) {
    this.check();
    for (const name of ["width", "height", "numberOfChannels", "isColor"]) this[name] = other[name];
    const scale = SAMPLES[(this.isReal ? "Float" : "UInt") + this.bitsPerSample][1];
    const narrow = scale ? (v) => Math.round(Math.min(1, Math.max(0, v)) * scale) / scale
      : this.bitsPerSample === 32 ? Math.fround : (v) => v;
    this.samples = other.samples.map(narrow);
  }

  deleteAlphaChannels() {
    this.check();
    this.numberOfChannels = this.isColor ? 3 : 1;
    this.samples = this.samples.slice(0, this.width * this.height * this.numberOfChannels);
  }

  minimum() { return this.samples.reduce((a, b) => Math.min(a, b), Infinity); }

  maximum() { return this.samples.reduce((a, b) => Math.max(a, b), -Infinity); }
}

const windows = [];
let serial = 0;

class View extends Strict {
  static core = true;

  constructor(window, id, area) {
    super();
    Object.assign(this, { window, id, area: area ?? null, open: false, steps: [], stf: "linear", before: null });
    return new Proxy(this, checkMembers);
  }

  get isNull() { return this.window.closed; }

  get isMainView() { return this.area === null; }

  get fullId() { return this.isMainView ? this.id : `${this.window.mainView.id}->${this.id}`; }

  get properties() { return this.window.properties; }

  get image() {
    if (this.isNull) throw new Error("the view is gone");
    const whole = this.window.image;
    if (this.isMainView) return whole;
    const [x0, y0, x1, y1] = this.area;
    const part = new Image(x1 - x0, y1 - y0, whole.numberOfChannels, whole.bitsPerSample, whole.isReal, whole.isColor);
    const offsets = [];
    for (let c = 0; c < whole.numberOfChannels; ++c) {
      for (let y = y0; y < y1; ++y) {
        for (let x = x0; x < x1; ++x) offsets.push((c * whole.height + y) * whole.width + x);
      }
    }
    part.samples = Float64Array.from(offsets, (i) => whole.samples[i]);
    part.writable = () => this.open;
    part.assign = (other) => {
      part.check();
      offsets.forEach((offset, i) => { whole.samples[offset] = other.samples[i]; });
    };
    return part;
  }

  beginProcess(flags) {
    if (this.open) throw new Error("beginProcess() twice");
    this.open = true;
    this.before = { flags, samples: this.window.image.samples.slice(), keywords: this.window.keywordList };
  }

  cancelProcess() {
    this.open = false;
    this.window.image.samples = this.before.samples;
    this.window.keywordList = this.before.keywords;
  }

  endProcess() {
    if (!this.open) throw new Error("endProcess() without beginProcess()");
    this.open = false;
    if (this.before.flags !== UndoFlag.NoSwapFile) this.steps.push(this.before.flags);
  }
}

class ImageWindow extends Strict {
  static core = true;

  constructor(width, height, numberOfChannels, bitsPerSample, isReal, isColor, id, loaded) {
    super();
    let unique = id;
    for (let n = 1; windows.some((w) => !w.closed && w.mainView.id === unique); ++n) unique = id + n;
    this.serial = ++serial;
    this.closed = false;
    this.visible = false;
    this.filePath = "";
    this.solution = null;
    this.keywordList = loaded ? loaded.keywords : [];
    this.properties = loaded ? loaded.properties : [];
    this.image = loaded ? loaded.image : new Image(width, height, numberOfChannels, bitsPerSample, isReal, isColor);
    const self = new Proxy(this, checkMembers);
    this.mainView = new View(self, unique);
    this.currentView = this.mainView;
    this.image.writable = () => this.mainView.open;
    if (loaded && ["CTYPE1", "CRVAL1", "CRPIX1"].every((name) => this.keywordList.some((k) => k.name === name))) {
      this.solution = "from keywords";
    }
    windows.push(self);
    return self;
  }

  static get activeWindow() { return windows.find((w) => !w.closed && w.visible) ?? null; }

  static open(file, id, hints, asCopy) {
    const loaded = readXISF(file, !hints.split(" ").includes("no-normalize"));
    const window = new ImageWindow(0, 0, 0, 0, false, false, id, loaded);
    window.filePath = asCopy ? "" : file;
    return [window];
  }

  get isNull() { return this.closed; }

  get keywords() { return this.keywordList.map((k) => ({ ...k })); }

  set keywords(list) { this.keywordList = list.map((k) => ({ ...k })); }

  get hasAstrometricSolution() { return this.solution !== null; }

  copyAstrometricSolution(source) {
    if (source.image.width !== this.image.width || source.image.height !== this.image.height) {
      throw new Error("copyAstrometricSolution(): different geometry");
    }
    if (source.solution === null) throw new Error("copyAstrometricSolution(): there is none");
    this.solution = source.solution;
    this.properties = [...new Set([...this.properties, ...source.properties.filter((id) => id.startsWith("PCL:Astrometric"))])];
  }

  setSampleFormat(bits, isReal) {
    this.image.bitsPerSample = bits;
    this.image.isReal = isReal;
  }

  saveAs(file, queryOptions, allowMessages, strict, verifyOverwrite, hints) {
    if (queryOptions || allowMessages || verifyOverwrite) throw new Error("saveAs() would ask the user");
    state.saved.push({ file: path.basename(file), window: this.mainView.id, hints });
    writeXISF(file, this.image, this.keywordList, this.properties);
    this.filePath = file;
    return true;
  }

  show() { this.visible = true; }

  zoomToFit() {}

  forceClose() {
    if (this.closed) throw new Error("the window is closed already");
    this.closed = true;
  }
}

// --- Processes ---------------------------------------------------------------------------------

const running = new Set();
const pause = (ms) => Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms);

class ByteArray extends Strict {
  static core = true;

  constructor(bytes) {
    super();
    this.bytes = bytes;
    return new Proxy(this, checkMembers);
  }

  utf8ToString() { return this.bytes.toString("utf8"); }
}

class ExternalProcess extends Strict {
  static core = true;

  constructor() {
    super();
    Object.assign(this, { folder: "", started: false, exitCode: 0, positions: { stdout: 0, stderr: 0 } });
    Object.assign(this, { onStandardOutputDataAvailable: null, onStandardErrorDataAvailable: null });
    return new Proxy(this, checkMembers);
  }

  start(program, options) {
    state.commands.push([program, ...options]);
    try {
      fs.accessSync(program, fs.constants.X_OK);
    } catch {
      return;
    }
    this.folder = fs.mkdtempSync(path.join(os.tmpdir(), "standin-"));
    const where = scenario.separateStreams ? '2>"$D/stderr"' : "2>&1";
    const shell = `"$@" >"$D/stdout" ${where} & echo $! >"$D/pid"; wait $!; echo $? >"$D/new"; mv "$D/new" "$D/code"`;
    childProcess.spawn("sh", ["-c", shell, "sh", program, ...options], { env: { ...process.env, D: this.folder }, stdio: "ignore" });
    this.started = true;
    running.add(this);
  }

  get isStarting() { return false; }

  get isRunning() {
    if (!this.started) return false;
    const file = path.join(this.folder, "code");
    if (!fs.existsSync(file)) return true;
    this.exitCode = Number(fs.readFileSync(file, "utf8"));
    return false;
  }

  waitForStarted() { return this.started; }

  waitForFinished(ms = 30000) {
    const end = Date.now() + ms;
    while (this.isRunning && Date.now() < end) pause(10);
    this.deliver();
    return !this.isRunning;
  }

  unread(stream) {
    const file = path.join(this.folder, stream);
    if (!fs.existsSync(file)) return Buffer.alloc(0);
    return fs.readFileSync(file).subarray(this.positions[stream]);
  }

  take(stream) {
    const bytes = this.unread(stream);
    this.positions[stream] += bytes.length;
    return new ByteArray(bytes);
  }

  get stdout() { return this.take("stdout"); }

  get stderr() { return this.take("stderr"); }

  deliver() {
    if (this.unread("stdout").length > 0) this.onStandardOutputDataAvailable?.();
    if (this.unread("stderr").length > 0) this.onStandardErrorDataAvailable?.();
  }

  kill() {
    const file = path.join(this.folder, "pid");
    while (!fs.existsSync(file)) pause(5);
    state.killed += 1;
    try {
      process.kill(Number(fs.readFileSync(file, "utf8")), "SIGKILL");
    } catch (error) {
      if (error.code !== "ESRCH") throw error;
    }
  }
}

// --- Console, files, parameters, settings --------------------------------------------------------

class Console extends Strict {
  static core = true;

  constructor() {
    super();
    this.abortEnabled = false;
    return new Proxy(this, checkMembers);
  }

  get abortRequested() {
    const written = state.console.map(([, text]) => text).join("");
    return this.abortEnabled && scenario.abortAt !== undefined && written.includes(scenario.abortAt);
  }

  show() {}
}
for (const kind of ["write", "writeln", "noteln", "warningln", "criticalln"]) {
  Console.prototype[kind] = (...texts) => { state.console.push([kind, texts.join("")]); };
}

const File = constants({
  systemTempDirectory: "",
  homeDirectory: os.homedir(),
  exists: (file) => fs.existsSync(file) && fs.statSync(file).isFile(),
  createDirectory: (folder, parents) => fs.mkdirSync(folder, { recursive: parents }),
  remove: (file) => fs.unlinkSync(file),
  removeDirectory: (folder) => fs.rmdirSync(folder),
});

class FileFind extends Strict {
  static core = true;

  constructor() {
    super();
    Object.assign(this, { left: [], name: "" });
    return new Proxy(this, checkMembers);
  }

  begin(pattern) {
    this.left = [".", "..", ...fs.readdirSync(path.dirname(pattern))];
    return this.next();
  }

  next() {
    if (this.left.length === 0) return false;
    this.name = this.left.shift();
    return true;
  }

  end() {}
}

const Parameters = constants({
  isViewTarget: false,
  targetView: null,
  has: (id) => id in state.parameters,
  set: (id, value) => {
    if (!/^[A-Za-z_]\w*$/.test(id)) throw new Error(`'${id}' is no parameter identifier`);
    state.parameters[id] = String(value);
  },
  getString: (id) => state.parameters[id],
  getReal: (id) => Number(state.parameters[id]),
  getInteger: (id) => parseInt(state.parameters[id], 10),
  getBoolean: (id) => state.parameters[id] === "true",
});

const Settings = constants({
  read: (key, type) => (type, state.settings[key] ?? null),
  write: (key, type, value) => { state.settings[key] = value; },
});

// --- The user interface --------------------------------------------------------------------------

class Control extends Strict {
  static core = true;

  constructor() {
    super();
    Object.assign(this, { toolTip: "", sizer: null, hasFocus: false });
    this.font = { width: (text) => 8 * text.length };
  }

  scaledResource(name) { return name; }

  setFixedWidth() {}

  setScaledFixedSize() {}

  setMinWidth() {}

  adjustToContents() {}
}

function control(members, methods = {}) {
  const Made = class extends Control {
    static core = true;

    constructor() {
      super();
      Object.assign(this, structuredClone(members));
      return new Proxy(this, checkMembers);
    }
  };
  Object.assign(Made.prototype, methods);
  return Made;
}

const Label = control({ text: "", textAlignment: 0, wordWrapping: false, useRichText: false, margin: 0 });
const Edit = control({ text: "", readOnly: false, onTextUpdated: null });
const CheckBox = control({ text: "", checked: false, onCheck: null });
const PushButton = control({ text: "", onClick: null });
const ToolButton = control({ icon: "", pushed: false, onMousePress: null });
const SpinBox = control({ value: 0, range: [0, 0], onValueUpdated: null }, { setRange(...range) { this.range = range; } });
const ComboBox = control({ items: [], currentItem: 0, onItemSelected: null }, { addItem(item) { this.items.push(item); } });
const NumericControl = control({ value: 0, range: [0, 0], onValueUpdated: null }, {
  setReal() {}, setPrecision() {}, setRange(...range) { this.range = range; }, setValue(value) { this.value = value; },
});
const ViewList = control({ currentView: null, onViewSelected: null }, { getAll() {} });

class Sizer extends Strict {
  static core = true;

  constructor() {
    super();
    Object.assign(this, { margin: 0, spacing: 0, items: [] });
    return new Proxy(this, checkMembers);
  }

  add(item) {
    if (item === undefined) throw new TypeError("add(undefined)");
    this.items.push(item);
  }

  addStretch() {}
}
class VerticalSizer extends Sizer { static core = true; }
class HorizontalSizer extends Sizer { static core = true; }

// The user: changes what the scenario says, presses its buttons, and ends the dialog.
class Dialog extends Control {
  static core = true;

  constructor() {
    super();
    Object.assign(this, { windowTitle: "", result: null });
    return new Proxy(this, checkMembers);
  }

  ok() { this.result = StdDialogCode.Ok; }

  cancel() { this.result = StdDialogCode.Cancel; }

  newInstance() { state.instances.push({ ...state.parameters }); }

  execute() {
    const rows = {}, buttons = {};
    const walk = (sizer) => {
      const [first, second] = sizer.items;
      if (sizer instanceof HorizontalSizer && first instanceof Label) rows[first.text.replace(":", "") || second.text] = second;
      for (const item of sizer.items) {
        if (item instanceof Sizer) walk(item);
        if (item instanceof PushButton) buttons[item.text] = () => item.onClick();
        if (item instanceof ToolButton) buttons["New instance"] = () => item.onMousePress();
      }
    };
    walk(this.sizer);
    const shown = (c) => {
      if (c instanceof CheckBox) return c.checked;
      if (c instanceof ComboBox) return c.items[c.currentItem];
      if (c instanceof ViewList) return c.currentView && c.currentView.id;
      return c instanceof Edit ? c.text : c.value;
    };
    const entries = Object.entries(rows).map(([label, c]) => [label, shown(c)]);
    state.dialogs.push({ title: this.windowTitle, rows: Object.fromEntries(entries) });
    for (const [label, value] of Object.entries(scenario.dialog?.set ?? {})) {
      const c = rows[label];
      if (!c) throw new Error(`the dialog has no ${label}`);
      if (c instanceof ComboBox) c.onItemSelected(c.items.indexOf(value));
      else if (c instanceof CheckBox) c.onCheck(value);
      else if (c instanceof Edit) c.onTextUpdated(value);
      else c.onValueUpdated(value);
    }
    for (const name of scenario.dialog?.press ?? ["OK"]) {
      if (this.result !== null) throw new Error("the dialog has ended");
      buttons[name]();
    }
    return this.result ?? StdDialogCode.Cancel;
  }
}

class MessageBox extends Strict {
  static core = true;

  constructor(text, caption, icon, button) {
    super();
    Object.assign(this, { text, caption, icon, button });
    return new Proxy(this, checkMembers);
  }

  execute() { state.boxes.push(this.text); }
}

class OpenFileDialog extends Strict {
  static core = true;

  constructor() {
    super();
    Object.assign(this, { caption: "", initialPath: "", filters: [], filePath: "" });
    return new Proxy(this, checkMembers);
  }

  execute() {
    state.asked += 1;
    this.filePath = scenario.choose ?? "";
    return this.filePath !== "";
  }
}

const UndoFlag = constants({ Keywords: 1, PixelData: 2, NoSwapFile: 0xffffffff });
const StdDialogCode = constants({ Ok: 1, Cancel: 0 });

// --- A run ---------------------------------------------------------------------------------------

const state = { commands: [], console: [], saved: [], dialogs: [], instances: [], boxes: [], killed: 0, asked: 0, error: null };
let scenario = {};

function loadImages() {
  for (const entry of scenario.images ?? []) {
    const [window] = ImageWindow.open(entry.path, entry.id, "no-normalize", false);
    window.show();
    window.properties.push(...(entry.properties ?? []));
    if (entry.solution) window.solution = entry.solution;
    if (entry.integer) {
      window.setSampleFormat(16, false);
      window.mainView.beginProcess(UndoFlag.NoSwapFile);
      window.image.assign(window.image);
      window.mainView.endProcess();
    }
    if (entry.preview) window.currentView = new View(window, "Preview01", entry.preview);
  }
}

function describe(window) {
  const { image, mainView } = window;
  const pixels = path.join(scenario.folder, `window${window.serial}.f64`);
  fs.writeFileSync(pixels, Buffer.from(image.samples.buffer, image.samples.byteOffset, image.samples.byteLength));
  return {
    id: mainView.id, visible: window.visible, filePath: window.filePath, pixels,
    shape: [image.numberOfChannels, image.height, image.width],
    bits: image.bitsPerSample, isReal: image.isReal, isColor: image.isColor,
    keywords: window.keywords.map((k) => [k.name, k.value, k.comment]),
    solution: window.solution, stf: mainView.stf,
    steps: [...mainView.steps, ...(window.currentView === mainView ? [] : window.currentView.steps)],
  };
}

function runScenario() {
  state.parameters = { ...scenario.parameters };
  state.settings = { ...scenario.settings };
  loadImages();
  const target = windows.find((w) => w.mainView.id === scenario.target);
  const globals = {
    console: new Console(), ImageWindow, ExternalProcess, FileFind, Settings, Dialog, MessageBox, OpenFileDialog,
    Label, Edit, CheckBox, PushButton, ToolButton, SpinBox, ComboBox, NumericControl, ViewList, VerticalSizer,
    HorizontalSizer, UndoFlag, StdDialogCode,
    Parameters: constants({ ...Parameters, isViewTarget: target !== undefined, targetView: target?.currentView ?? null }),
    File: constants({ ...File, systemTempDirectory: scenario.temp }),
    CoreApplication: constants({ ensureMinimumVersion: (...version) => { state.version = version.join("."); } }),
    StdIcon: constants({ Error: 4 }), StdButton: constants({ Ok: 1 }), DataType: constants({ UTF8String: 1 }),
    TextAlignment: constants({ Right: 2, VertCenter: 128 }),
    processEvents: () => running.forEach((p) => p.deliver()),
  };
  try {
    vm.runInNewContext(preprocess(scenario.script), globals, { filename: scenario.script });
  } catch (error) {
    state.error = { name: error.name, message: error.message, stack: error.stack };
  }
  running.forEach((p) => fs.rmSync(p.folder, { recursive: true }));
  state.windows = windows.filter((w) => !w.closed).map(describe);
  fs.writeFileSync(path.join(scenario.folder, "state.json"), JSON.stringify(state));
}

if (process.argv[2] === "--syntax") {
  new vm.Script(preprocess(process.argv[3]), { filename: process.argv[3] });
} else {
  scenario = JSON.parse(fs.readFileSync(process.argv[2], "utf8"));
  runScenario();
}
