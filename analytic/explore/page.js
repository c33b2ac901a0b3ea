"use strict";
(() => {
  // ---- what the file holds -----------------------------------------------------------------

  const READ = { f8: [8, "getFloat64"], f4: [4, "getFloat32"], i4: [4, "getInt32"],
    u4: [4, "getUint32"], u2: [2, "getUint16"], u1: [1, "getUint8"] };

  function unpack(packed) {
    const text = atob(packed.base64);
    const bytes = Uint8Array.from(text, (c) => c.charCodeAt(0));
    const [size, get] = READ[packed.dtype];
    const view = new DataView(bytes.buffer);
    return Float64Array.from({ length: bytes.length / size }, (_, k) => view[get](k * size, true));
  }

  function unround(packed) {
    const [levels, count] = packed.shape;
    const values = unpack(packed);
    const row = 2 * count;
    for (let k = 0; k < levels; k++) {
      const half = packed.half[k];
      for (let j = k * row; j < (k + 1) * row; j++) {
        values[j] = (values[j] * (2 / packed.steps) - 1) * half;
      }
    }
    return values;
  }

  const data = JSON.parse(document.getElementById("data").textContent);
  const sigmas = data.sigmas;
  const T = sigmas.length;
  const points = unpack(data.points);           // from the mean, (N, 2)
  const N = points.length / 2;
  const height = data.height ? unpack(data.height) : null;
  const logs = unpack(data.logs);
  const classes = unpack(data.classes);
  const ends = unpack(data.ends);
  const knots = data.knots;
  const G = knots.length;
  const inner = data.inner;
  const kept = { x: unround(data.paths.x), d: unround(data.paths.d),
    end: unpack(data.paths.end), sealed: unpack(data.paths.sealed) };
  const K = kept.end.length;
  const shown = {};
  for (const name of Object.keys(data.shown || {})) shown[name] = unpack(data.shown[name]);
  const sigmaMax = sigmas[0];
  const sigmaMin = sigmas[T - 2];
  const span = knots[G - 1];

  // the box of the data, a little widened: what is seen at σ = 0
  const low = [Infinity, Infinity];
  const high = [-Infinity, -Infinity];
  for (let i = 0; i < N; i++) {
    for (let c = 0; c < 2; c++) {
      low[c] = Math.min(low[c], points[2 * i + c]);
      high[c] = Math.max(high[c], points[2 * i + c]);
    }
  }
  const middle = [(low[0] + high[0]) / 2, (low[1] + high[1]) / 2];
  const radius = 1.18 * Math.max(high[0] - low[0], high[1] - low[1]) / 2 || 4 * sigmaMin;

  // ---- the closed form, in the plane ---------------------------------------------------------

  const logits = new Float64Array(N);

  // D(x; σ), log p and the posterior's entropy; relative to the heaviest point, so nothing vanishes
  function denoise(x, y, sigma, out) {
    const inv = 1 / sigma;
    let top = -Infinity;
    for (let i = 0; i < N; i++) {
      const dx = (x - points[2 * i]) * inv;
      const dy = (y - points[2 * i + 1]) * inv;
      const l = logs[i] - 0.5 * (dx * dx + dy * dy);
      logits[i] = l;
      if (l > top) { top = l; out.heaviest = i; }
    }
    let total = 0, mx = 0, my = 0, spread = 0;
    for (let i = 0; i < N; i++) {
      const gap = logits[i] - top;
      if (gap < -45) continue;
      const u = Math.exp(gap);
      total += u;
      mx += u * points[2 * i];
      my += u * points[2 * i + 1];
      spread += u * gap;
    }
    out.x = mx / total;
    out.y = my / total;
    out.logp = top + Math.log(total) - Math.log(2 * Math.PI) - 2 * Math.log(sigma);
    out.entropy = Math.max(Math.log(total) - spread / total, 0);
  }

  // the trap certificate (theory D1): the bound on |D - x_i| where it holds, else null
  function certificate(x, y, sigma, i) {
    const px = points[2 * i], py = points[2 * i + 1];
    const half = 0.5 / (sigma * sigma);
    let pull = 0, odds = 0, far = 0, near = Infinity;
    for (let j = 0; j < N; j++) {
      if (j === i) continue;
      const ex = px - points[2 * j], ey = py - points[2 * j + 1];
      // |x - x_j|² - |x - x_i|², from differences of points
      const gap = ex * (2 * x - px - points[2 * j]) + ey * (2 * y - py - points[2 * j + 1]);
      if (!(gap > 0)) return null;
      const d = Math.sqrt(ex * ex + ey * ey);
      const r = Math.exp(logs[j] - logs[i] - gap * half);
      pull += r * d;
      odds += r;
      far = Math.max(far, d);
      near = Math.min(near, d);
    }
    const slack = 1 + 1e-9;
    const reach = odds ? Math.min(pull * slack, far * odds * slack / (1 + odds * slack)) : 0;
    return reach <= 0.5 * near ? reach : null;
  }

  function nearest(x, y) {
    let best = 0, least = Infinity;
    for (let i = 0; i < N; i++) {
      const d = (x - points[2 * i]) ** 2 + (y - points[2 * i + 1]) ** 2;
      if (d < least) { least = d; best = i; }
    }
    return best;
  }

  // ---- the exact flow: dy/dw = D(y/w; 1/w), y = x/σ, w = 1/σ ---------------------------------

  const NODES = [0, 1 / 5, 3 / 10, 4 / 5, 8 / 9, 1, 1];
  const ROWS = [[], [1 / 5], [3 / 40, 9 / 40], [44 / 45, -56 / 15, 32 / 9],
    [19372 / 6561, -25360 / 2187, 64448 / 6561, -212 / 729],
    [9017 / 3168, -355 / 33, 46732 / 5247, 49 / 176, -5103 / 18656],
    [35 / 384, 0, 500 / 1113, 125 / 192, -2187 / 6784, 11 / 84]];
  const WRONG = [71 / 57600, 0, -71 / 16695, 71 / 1920, -17253 / 339200, 22 / 525, -1 / 40];
  const RTOL = 1e-9;
  const ATOL = 1e-12 * (radius || 1);
  const slopes = Array.from({ length: 7 }, () => ({ x: 0, y: 0 }));

  // from level `from` down to `to`; state.h is the step in w that the last one suggests
  function descend(state, from, to) {
    let w = 1 / from;
    const stop = 1 / to;
    let u = state.x * w, v = state.y * w;
    let h = Math.min(state.h || stop - w, stop - w);
    denoise(state.x, state.y, from, slopes[0]);
    for (let step = 0; step < 20000; step++) {
      const last = w + h >= stop * (1 - 1e-14);
      if (last) h = stop - w;
      let a = u, b = v;
      for (let s = 1; s < 7; s++) {
        a = u; b = v;
        for (let j = 0; j < s; j++) {
          a += h * ROWS[s][j] * slopes[j].x;
          b += h * ROWS[s][j] * slopes[j].y;
        }
        const at = s >= 5 ? (last ? stop : w + h) : w + NODES[s] * h;
        denoise(a / at, b / at, 1 / at, slopes[s]);
      }
      let ex = 0, ey = 0;
      for (let j = 0; j < 7; j++) { ex += WRONG[j] * slopes[j].x; ey += WRONG[j] * slopes[j].y; }
      const end = last ? stop : w + h;
      const size = Math.hypot(a, b) / end;
      const error = Math.abs(h) * Math.hypot(ex, ey) / end / (ATOL + RTOL * size);
      const change = Math.min(5, Math.max(0.2, 0.9 * Math.pow(error + 1e-30, -0.2)));
      if (error <= 1) {
        w = end; u = a; v = b;
        slopes[0].x = slopes[6].x; slopes[0].y = slopes[6].y;
        if (last) { state.h = Math.max(h * change, state.h || 0); break; }
        state.h = h * change;
      }
      h *= change;
    }
    state.x = u * to;
    state.y = v * to;
  }

  const here = { x: 0, y: 0, logp: 0, entropy: 0, heaviest: 0 };

  function follow(z) {
    const path = { z: [z[0], z[1]], x: new Float64Array(2 * T), d: new Float64Array(2 * T),
      logp: new Float64Array(T).fill(NaN), effective: new Float64Array(T).fill(1),
      end: -1, sealed: 0 };
    const state = { x: sigmaMax * z[0], y: sigmaMax * z[1], h: 0 };
    let closed = null;                 // from here on x = x_i + (σ/σ_c)(x_c - x_i) to rounding
    for (let k = 0; k < T - 1; k++) {
      const sigma = sigmas[k];
      if (closed) {
        const share = sigma / closed.sigma;
        state.x = closed.px + share * closed.dx;
        state.y = closed.py + share * closed.dy;
      } else if (k) descend(state, sigmas[k - 1], sigma);
      denoise(state.x, state.y, sigma, here);
      path.x[2 * k] = state.x; path.x[2 * k + 1] = state.y;
      path.d[2 * k] = here.x; path.d[2 * k + 1] = here.y;
      path.logp[k] = here.logp;
      path.effective[k] = Math.exp(here.entropy);
      if (!closed) {
        const i = here.heaviest;
        const reach = certificate(state.x, state.y, sigma, i);
        if (reach !== null && !path.sealed) { path.sealed = sigma; path.end = i; }
        if (reach !== null && reach < 1e-15 * radius) {
          const px = points[2 * i], py = points[2 * i + 1];
          closed = { sigma, px, py, dx: state.x - px, dy: state.y - py };
        }
      }
    }
    // on from the last level, where that does not tell the end yet
    let sigma = sigmaMin;
    for (let k = 0; k < 40 && !path.sealed; k++) {
      state.h = 0;
      descend(state, sigma, sigma / 2);
      sigma /= 2;
      denoise(state.x, state.y, sigma, here);
      if (certificate(state.x, state.y, sigma, here.heaviest) !== null) {
        path.sealed = sigma;
        path.end = here.heaviest;
      }
    }
    const i = path.sealed ? path.end : nearest(state.x, state.y);
    const goal = path.sealed ? [points[2 * i], points[2 * i + 1]] : [state.x, state.y];
    path.end = i;
    for (const each of [path.x, path.d]) { each[2 * T - 2] = goal[0]; each[2 * T - 1] = goal[1]; }
    const away = (each) => Float64Array.from({ length: T },
      (_, k) => Math.hypot(each[2 * k] - goal[0], each[2 * k + 1] - goal[1]));
    path.distance = away(path.x);
    path.denoised = away(path.d);
    path.nearest = Float64Array.from({ length: T },
      (_, k) => nearest(path.x[2 * k], path.x[2 * k + 1]));
    return path;
  }

  // ---- paths that were integrated beforehand --------------------------------------------------

  const column = (values, j, width) => {
    const stride = values.length / T;
    const out = new Float64Array(T * width);
    for (let k = 0; k < T; k++) {
      for (let c = 0; c < width; c++) out[k * width + c] = values[k * stride + j * width + c];
    }
    return out;
  };

  function recall(j) {
    const g = inner.length;
    const path = { z: [inner[j % g], inner[Math.floor(j / g)]],
      x: column(kept.x, j, 2), d: column(kept.d, j, 2), end: kept.end[j], sealed: kept.sealed[j] };
    for (const name of Object.keys(shown)) path[name] = column(shown[name], j, 1);
    return path;
  }

  const clamp = (value, a, b) => Math.min(Math.max(value, a), b);
  const pitch = 2 * span / (inner.length - 1);
  const knot = (value) => clamp(Math.round((value + span) / pitch), 0, inner.length - 1);
  const pathFrom = (z) => data.live ? follow(z)
    : recall(knot(z[1]) * inner.length + knot(z[0]));

  // how far the page's own paths are from those of the library
  function compare(count) {
    let worst = 0, rounding = 0, disagree = 0;
    const chosen = Array.from({ length: count }, (_, k) => Math.floor((k + 0.5) * K / count));
    for (const j of chosen) {
      const theirs = recall(j);
      const ours = follow(theirs.z);
      if (ours.end !== theirs.end) disagree++;
      for (let k = 0; k < 2 * T; k++) {
        worst = Math.max(worst, Math.abs(ours.x[k] - theirs.x[k]) / data.paths.x.half[k >> 1],
          Math.abs(ours.d[k] - theirs.d[k]) / data.paths.d.half[k >> 1]);
      }
    }
    rounding = 1 / data.paths.x.steps;
    return { count, worst, rounding, disagree };
  }

  // ---- numbers as text -----------------------------------------------------------------------

  const minus = (text) => text.replace(/-/g, "−");
  function number(value, digits = 4) {
    if (Number.isNaN(value)) return "—";
    if (value === 0) return "0";
    const size = Math.abs(value);
    return minus(size >= 1e5 || size < 1e-3 ? value.toExponential(digits - 2)
      : String(Number(value.toPrecision(digits))));
  }
  const level = (sigma) => number(sigma, 3);
  function point(i) {
    const label = data.labels ? `, class ${data.labels[i]}` : "";
    if (data.dim > 2) return `no. ${i}${label}`;
    const at = [0, 1].map((c) => number(points[2 * i + c] + data.origin[c], 3));
    return `no. ${i}${label}, (${at.join(", ")})`;
  }

  // ---- what is on the screen ------------------------------------------------------------------

  const $ = (id) => document.getElementById(id);
  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const SAMPLING = colour("--sampling"), DENOISING = colour("--denoising");
  const BOUND = colour("--bound"), DATA = colour("--data");
  const DASHES = [9, 2.5, 2.5, 2.5];
  const start = Math.max(0, sigmas.findIndex((sigma) => sigma <= 0.35 * radius));
  const state = { z: [1.1, 0.6], level: start, path: null, playing: false };
  state.z = state.z.map((value) => value * Math.min(1, span / 3));

  function rgb(hex) { return [1, 3, 5].map((k) => parseInt(hex.slice(k, k + 2), 16)); }
  function tint(hex, share) { return rgb(hex).map((c) => Math.round(255 + (c - 255) * share)); }
  const GREYS = [236, 224, 247];
  function cellTint(end, chosen) {
    if (end < 0) return [255, 255, 255];
    const mark = classes[end];
    if (mark === 255) return chosen ? [140, 186, 214] : Array(3).fill(GREYS[end % 3]);
    return tint(data.tints[mark], chosen ? 0.85 : 0.26 + 0.07 * (end % 3));
  }

  function fit(canvas) {
    const ratio = window.devicePixelRatio || 1;
    const wide = Math.round(canvas.clientWidth * ratio), tall = Math.round(canvas.clientHeight * ratio);
    if (canvas.width !== wide || canvas.height !== tall) { canvas.width = wide; canvas.height = tall; }
    const pen = canvas.getContext("2d");
    pen.setTransform(ratio, 0, 0, ratio, 0, 0);
    pen.clearRect(0, 0, canvas.clientWidth, canvas.clientHeight);
    pen.font = '12px system-ui, "DejaVu Sans", sans-serif';
    pen.lineJoin = "round";
    return { pen, wide: canvas.clientWidth, tall: canvas.clientHeight, ratio };
  }

  function ticks(a, b, most) {
    const raw = (b - a) / most;
    const unit = 10 ** Math.floor(Math.log10(raw));
    const step = [1, 2, 5, 10].map((k) => k * unit).find((k) => k >= raw);
    const first = Math.ceil(a / step - 1e-9);
    const last = Math.floor(b / step + 1e-9);
    return Array.from({ length: last - first + 1 }, (_, k) => {
      const value = (first + k) * step;
      return [value, minus(String(Number(value.toPrecision(6))))];
    });
  }

  function frame(pen, box, xs, ys, place) {
    pen.strokeStyle = "#4d4d4d"; pen.fillStyle = "#333"; pen.lineWidth = 1;
    pen.strokeRect(box.left, box.top, box.width, box.height);
    pen.textAlign = "center"; pen.textBaseline = "top";
    for (const [value, text] of xs) {
      const x = place(value, 0)[0];
      pen.beginPath(); pen.moveTo(x, box.top + box.height); pen.lineTo(x, box.top + box.height + 4);
      pen.stroke(); pen.fillText(text, x, box.top + box.height + 6);
    }
    pen.textAlign = "right"; pen.textBaseline = "middle";
    for (const [value, text] of ys) {
      const y = place(0, value)[1];
      pen.beginPath(); pen.moveTo(box.left, y); pen.lineTo(box.left - 4, y);
      pen.stroke(); pen.fillText(text, box.left - 6, y);
    }
  }

  // ---- density: log p on a grid of the plane, interpolated and cut into bands of 1 nat ---------

  const BANDS = 8;
  const field = { key: "", image: document.createElement("canvas") };

  function shade(sigma, centre, half, pixels) {
    const key = [sigma, half, pixels].join();
    if (field.key === key) return field.image;
    field.key = key;
    const side = clamp(Math.floor(Math.sqrt(3e6 / N)), 16, 120);
    const inv = 0.5 / (sigma * sigma);
    const values = new Float64Array(side * side);
    let most = -Infinity;
    for (let r = 0; r < side; r++) {
      for (let c = 0; c < side; c++) {
        const x = centre[0] + half * (2 * c / (side - 1) - 1);
        const y = centre[1] + half * (1 - 2 * r / (side - 1));
        let top = -Infinity;
        for (let i = 0; i < N; i++) {
          const dx = x - points[2 * i], dy = y - points[2 * i + 1];
          const l = logs[i] - (dx * dx + dy * dy + (height ? height[i] : 0)) * inv;
          logits[i] = l;
          if (l > top) top = l;
        }
        let total = 0;
        for (let i = 0; i < N; i++) {
          const gap = logits[i] - top;
          if (gap > -30) total += Math.exp(gap);
        }
        const value = top + Math.log(total);
        values[r * side + c] = value;
        if (value > most) most = value;
      }
    }
    if (!height) {
      // peaks between the grid's nodes count too, else little noise would have none
      for (let i = 0; i < N; i += Math.ceil(N / 500)) {
        denoise(points[2 * i], points[2 * i + 1], sigma, here);
        most = Math.max(most, here.logp + Math.log(2 * Math.PI) + 2 * Math.log(sigma));
      }
    }
    const image = field.image;
    image.width = image.height = pixels;
    const pen = image.getContext("2d");
    const out = pen.createImageData(pixels, pixels);
    const colours = Array.from({ length: BANDS }, (_, k) => tint("#029e73", 0.06 + 0.36 * (BANDS - k - 1) / (BANDS - 1)));
    for (let r = 0; r < pixels; r++) {
      const v = r * (side - 1) / (pixels - 1), v0 = Math.min(Math.floor(v), side - 2), fv = v - v0;
      for (let c = 0; c < pixels; c++) {
        const u = c * (side - 1) / (pixels - 1), u0 = Math.min(Math.floor(u), side - 2), fu = u - u0;
        const at = v0 * side + u0;
        const value = (1 - fv) * ((1 - fu) * values[at] + fu * values[at + 1])
          + fv * ((1 - fu) * values[at + side] + fu * values[at + side + 1]);
        const band = Math.floor(most - value);
        const paint = band < BANDS ? colours[Math.max(band, 0)] : [255, 255, 255];
        const to = 4 * (r * pixels + c);
        out.data[to] = paint[0]; out.data[to + 1] = paint[1]; out.data[to + 2] = paint[2];
        out.data[to + 3] = 255;
      }
    }
    pen.putImageData(out, 0, 0);
    return image;
  }

  function disc(pen, x, y, r, fill, edge) {
    pen.beginPath(); pen.arc(x, y, r, 0, 2 * Math.PI);
    if (fill) { pen.fillStyle = fill; pen.fill(); }
    if (edge) { pen.strokeStyle = edge; pen.stroke(); }
  }

  function drawView() {
    const { pen, wide, tall, ratio } = fit($("view"));
    const box = { left: 46, top: 8, width: wide - 54, height: tall - 52 };
    const side = Math.min(box.width, box.height);
    box.width = box.height = side;
    const sigma = sigmas[state.level];
    const half = radius + ($("follow").checked ? span * sigma : 0);
    const place = (x, y) => [box.left + (0.5 + (x - middle[0]) / (2 * half)) * side,
      box.top + (0.5 - (y - middle[1]) / (2 * half)) * side];
    pen.save();
    pen.beginPath(); pen.rect(box.left, box.top, side, side); pen.clip();
    if ($("shade").checked && sigma > 0) {
      pen.drawImage(shade(sigma, middle, half, Math.max(2, Math.round(side * Math.min(ratio, 2)))),
        box.left, box.top, side, side);
    }
    pen.lineWidth = 0.8;
    for (let i = 0; i < N; i++) {
      const [x, y] = place(points[2 * i], points[2 * i + 1]);
      disc(pen, x, y, N > 1000 ? 1.8 : 2.6, DATA, "#6e6e6e");
    }
    const path = state.path;
    const trace = (values, stroke, dashes) => {
      pen.beginPath();
      for (let k = 0; k < T; k++) {
        const at = place(values[2 * k], values[2 * k + 1]);
        if (k) pen.lineTo(...at); else pen.moveTo(...at);
      }
      pen.setLineDash([]); pen.strokeStyle = "rgba(255,255,255,.85)"; pen.lineWidth = 4.5; pen.stroke();
      pen.setLineDash(dashes); pen.strokeStyle = stroke; pen.lineWidth = 2.2; pen.stroke();
      pen.setLineDash([]);
    };
    trace(path.x, SAMPLING, []);
    trace(path.d, DENOISING, DASHES);
    pen.lineWidth = 1.8;
    disc(pen, ...place(path.x[2 * T - 2], path.x[2 * T - 1]), 7, null, "#000");
    if (path.sealed >= sigmaMin) {
      const k = sealedLevel(path);
      const [x, y] = place(path.x[2 * k], path.x[2 * k + 1]);
      pen.beginPath(); pen.moveTo(x, y - 7); pen.lineTo(x + 7, y); pen.lineTo(x, y + 7);
      pen.lineTo(x - 7, y); pen.closePath();
      pen.fillStyle = "#fff"; pen.fill(); pen.strokeStyle = BOUND; pen.lineWidth = 2; pen.stroke();
    }
    pen.lineWidth = 1.3;
    const [dx, dy] = place(path.d[2 * state.level], path.d[2 * state.level + 1]);
    pen.fillStyle = DENOISING; pen.fillRect(dx - 5, dy - 5, 10, 10);
    pen.strokeStyle = "#fff"; pen.strokeRect(dx - 5, dy - 5, 10, 10);
    const [sx, sy] = place(path.x[2 * state.level], path.x[2 * state.level + 1]);
    disc(pen, sx, sy, 6, SAMPLING, "#fff");
    pen.restore();
    const outside = Math.max(Math.abs(sx - box.left - side / 2), Math.abs(sy - box.top - side / 2)) > side / 2;
    if (outside) {
      pen.fillStyle = "#333"; pen.textAlign = "left"; pen.textBaseline = "top";
      pen.fillText("x is outside the view", box.left + 8, box.top + 8);
    }
    const count = side > 380 ? 6 : 4;
    const label = (c) => ticks(middle[c] + data.origin[c] - half, middle[c] + data.origin[c] + half, count)
      .map(([value, text]) => [value - data.origin[c], text]);
    frame(pen, box, label(0), label(1), place);
    pen.textAlign = "center"; pen.textBaseline = "top"; pen.fillStyle = "#1a1a1a";
    pen.fillText(data.axes[0], box.left + side / 2, box.top + side + 24);
    pen.save(); pen.translate(2, box.top + side / 2); pen.rotate(-Math.PI / 2);
    pen.fillText(data.axes[1], 0, 0); pen.restore();
  }

  const sealedLevel = (path) => sigmas.findIndex((sigma) => sigma <= path.sealed);

  // ---- the map of starts ----------------------------------------------------------------------

  const map = { key: "", image: document.createElement("canvas") };
  const padBox = () => {
    const canvas = $("pad");
    return { left: 34, top: 8, width: canvas.clientWidth - 42, height: canvas.clientHeight - 50 };
  };
  const padPlace = (box) => (a, b) => [box.left + (0.5 + a / (2 * span)) * box.width,
    box.top + (0.5 - b / (2 * span)) * box.height];

  function cells(box, ratio, chosen) {
    const key = [box.width, box.height, ratio, chosen].join();
    if (map.key === key) return map.image;
    map.key = key;
    const wide = Math.round(box.width * ratio), tall = Math.round(box.height * ratio);
    map.image.width = wide; map.image.height = tall;
    const pen = map.image.getContext("2d");
    const edge = (k, length) => Math.round(clamp((k - 0.5) / (G - 1), 0, 1) * length);
    for (let r = 0; r < G; r++) {
      for (let c = 0; c < G; c++) {
        const end = ends[r * G + c];
        pen.fillStyle = `rgb(${cellTint(end, end === chosen).join()})`;
        const x = edge(c, wide), y = tall - edge(r + 1, tall);
        pen.fillRect(x, y, edge(c + 1, wide) - x, tall - edge(r, tall) - y);
      }
    }
    pen.strokeStyle = "rgba(60,60,60,.4)"; pen.lineWidth = Math.max(0.6, 0.6 * ratio);
    pen.beginPath();
    for (let r = 0; r < G; r++) {
      for (let c = 0; c < G; c++) {
        const end = ends[r * G + c];
        const x = edge(c + 1, wide), y = tall - edge(r + 1, tall);
        if (c + 1 < G && ends[r * G + c + 1] !== end) {
          pen.moveTo(x, y); pen.lineTo(x, tall - edge(r, tall));
        }
        if (r + 1 < G && ends[(r + 1) * G + c] !== end) { pen.moveTo(edge(c, wide), y); pen.lineTo(x, y); }
      }
    }
    pen.stroke();
    return map.image;
  }

  function drawPad() {
    const { pen, ratio } = fit($("pad"));
    const box = padBox();
    const place = padPlace(box);
    pen.drawImage(cells(box, ratio, state.path.end), box.left, box.top, box.width, box.height);
    const labels = ticks(-span, span, 6);
    frame(pen, box, labels, labels, place);
    pen.textAlign = "center"; pen.textBaseline = "top"; pen.fillStyle = "#1a1a1a";
    pen.fillText("z₁ = (x − μ)₁/σₘₐₓ", box.left + box.width / 2, box.top + box.height + 24);
    pen.save(); pen.translate(0, box.top + box.height / 2); pen.rotate(-Math.PI / 2);
    pen.fillText("z₂", 0, 0); pen.restore();
    const [x, y] = place(...state.path.z);
    pen.lineWidth = 2.5;
    disc(pen, x, y, 8, SAMPLING, "#fff");
    pen.lineWidth = 1; disc(pen, x, y, 9.5, null, "#1a1a1a");
  }

  // ---- distances against the level -------------------------------------------------------------

  function drawCurves() {
    const { pen, wide, tall } = fit($("curves"));
    const box = { left: 46, top: 6, width: wide - 56, height: tall - 44 };
    const path = state.path;
    const left = Math.log10(sigmaMax), right = Math.log10(sigmaMin);
    let most = -Infinity, least = Infinity;
    for (let k = 0; k < T - 1; k++) {
      most = Math.max(most, path.distance[k], path.denoised[k]);
      least = Math.min(least, path.distance[k]);
    }
    const top = Math.log10(most || 1) + 0.15;
    const bottom = Math.max(Math.log10(least || most * 1e-6) - 0.3, top - 9);
    const place = (a, b) => [box.left + (a - left) / (right - left) * box.width,
      box.top + (top - b) / (top - bottom) * box.height];
    pen.save();
    pen.beginPath(); pen.rect(box.left, box.top, box.width, box.height); pen.clip();
    const upright = (sigma, dashes, stroke) => {
      const x = place(Math.log10(sigma), 0)[0];
      pen.beginPath(); pen.moveTo(x, box.top); pen.lineTo(x, box.top + box.height);
      pen.setLineDash(dashes); pen.strokeStyle = stroke; pen.lineWidth = 1.5; pen.stroke(); pen.setLineDash([]);
    };
    if (path.sealed >= sigmaMin) upright(path.sealed, [6, 3], BOUND);
    if (state.level < T - 1) upright(sigmas[state.level], [], "#1a1a1a");
    for (const [values, stroke, dashes] of [[path.distance, SAMPLING, []], [path.denoised, DENOISING, DASHES]]) {
      pen.beginPath();
      for (let k = 0; k < T - 1; k++) {
        const at = place(Math.log10(sigmas[k]), Math.max(Math.log10(values[k]), bottom - 9));
        if (k) pen.lineTo(...at); else pen.moveTo(...at);
      }
      pen.setLineDash(dashes); pen.strokeStyle = stroke; pen.lineWidth = 2; pen.stroke(); pen.setLineDash([]);
    }
    pen.restore();
    const decades = (a, b, most) => {
      const step = Math.max(1, Math.ceil((b - a) / most));
      const first = Math.ceil(a / step - 1e-9) * step;
      const out = [];
      for (let k = first; k <= b + 1e-9; k += step) out.push([k, power(k)]);
      return out;
    };
    frame(pen, box, decades(right, left, 6), decades(bottom, top, 4), place);
    pen.textAlign = "center"; pen.textBaseline = "top"; pen.fillStyle = "#1a1a1a";
    pen.fillText("σ (data units)", box.left + box.width / 2, box.top + box.height + 22);
  }

  const power = (k) => "10" + String(k).replace(/[-0-9]/g, (c) => c === "-" ? "⁻" : "⁰¹²³⁴⁵⁶⁷⁸⁹"[Number(c)]);

  // ---- readouts --------------------------------------------------------------------------------

  function write() {
    const { path } = state;
    const k = state.level;
    const sigma = sigmas[k];
    const certified = path.sealed > 0;
    const done = certified && sigma <= path.sealed;
    const text = {
      "sigma-title": level(sigma),
      "r-sigma": sigma ? `${level(sigma)} data units` : "0, the limit",
      "r-distance": number(path.distance[k]),
      "r-denoised": number(path.denoised[k]),
      "r-logp": number(path.logp[k]),
      "r-effective": number(path.effective[k]),
      "r-nearest": point(path.nearest[k]),
      "r-end": certified ? point(path.end) : "not decided (a separatrix)",
      "r-certificate": !certified ? "none: between data points"
        : `from σ = ${path.sealed < sigmaMin ? `below ${level(sigmaMin)}` : level(path.sealed)} on${done ? ": proven here ✓" : ", not yet here"}`,
    };
    for (const [id, value] of Object.entries(text)) if ($(id).textContent !== value) $(id).textContent = value;
    $("level").value = String(k);
    $("level").setAttribute("aria-valuetext", `σ = ${level(sigma)}`);
    for (const [id, c] of [["z1", 0], ["z2", 1]]) {
      if (document.activeElement !== $(id)) $(id).value = String(Number(path.z[c].toFixed(3)));
    }
  }

  let told = 0;
  function tell() {
    // once things have come to rest: a reader should not hear every step of a drag
    clearTimeout(told);
    told = setTimeout(() => {
      $("say").textContent = `At σ = ${level(sigmas[state.level])}, distance to the end ${$("r-distance").textContent}; `
        + `ends at data point ${$("r-end").textContent}; certificate ${$("r-certificate").textContent}.`;
    }, 700);
  }

  let waiting = 0;
  function refresh() {
    if (waiting) return;
    waiting = requestAnimationFrame(() => {
      waiting = 0;
      if (!state.path) state.path = pathFrom(state.z);
      write(); drawPad(); drawView(); drawCurves(); tell();
    });
  }

  function moveStart(z) {
    state.z = z.map((value) => clamp(value, -span, span));
    state.path = null;
    refresh();
  }

  function setLevel(k) {
    state.level = clamp(Math.round(k), 0, T - 1);
    refresh();
  }

  // ---- what a hand can do ----------------------------------------------------------------------

  const pad = $("pad");
  let dragging = false;
  const toStart = (event) => {
    const box = padBox();
    const edge = pad.getBoundingClientRect();
    return [((event.clientX - edge.left - box.left) / box.width - 0.5) * 2 * span,
      (0.5 - (event.clientY - edge.top - box.top) / box.height) * 2 * span];
  };
  pad.addEventListener("pointerdown", (event) => {
    if (event.button) return;
    dragging = true;
    pad.setPointerCapture(event.pointerId);
    moveStart(toStart(event));
  });
  pad.addEventListener("pointermove", (event) => { if (dragging) moveStart(toStart(event)); });
  for (const name of ["pointerup", "pointercancel"]) pad.addEventListener(name, () => { dragging = false; });
  pad.addEventListener("keydown", (event) => {
    const way = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowDown: [0, -1], ArrowUp: [0, 1] }[event.key];
    if (event.key === "Home") moveStart([0, 0]);
    else if (way) {
      const step = data.live ? (event.shiftKey ? 0.005 : 0.05) * span / 3 : pitch;
      const from = state.path ? state.path.z : state.z;
      moveStart([from[0] + step * way[0], from[1] + step * way[1]]);
    } else return;
    event.preventDefault();
  });
  for (const [id, c] of [["z1", 0], ["z2", 1]]) {
    $(id).addEventListener("input", () => {
      const value = $(id).valueAsNumber;
      if (!Number.isFinite(value)) return;
      const z = state.z.slice();
      z[c] = value;
      moveStart(z);
    });
    $(id).addEventListener("blur", refresh);
  }
  $("level").addEventListener("input", () => { state.playing = false; label(); setLevel($("level").valueAsNumber); });
  $("follow").addEventListener("change", refresh);
  $("shade").addEventListener("change", refresh);

  const label = () => { $("play").textContent = state.playing ? "Pause" : "Play"; };
  let before = 0;
  function play(now) {
    if (!state.playing) return;
    if (now - before > 70) {
      before = now;
      setLevel(state.level + 1);
      if (state.level >= T - 1) state.playing = false;
    }
    label();
    requestAnimationFrame(play);
  }
  $("play").addEventListener("click", () => {
    state.playing = !state.playing;
    if (state.playing && state.level >= T - 1) setLevel(0);
    label();
    if (state.playing) requestAnimationFrame(play);
  });

  $("pad-help").textContent = (data.live ? "Drag anywhere on the map, or focus it and use the arrow keys (Shift: finer). "
    : "Drag anywhere on the map, or focus it and use the arrow keys; the start goes to the nearest one that was integrated. ")
    + "Each region is a basin: starts that end at one data point; "
    + (classes[0] === 255 ? "greys only tell neighbours apart." : "colours are classes.");
  $("sigma-max").textContent = `${level(sigmaMax)}`;
  $("sigma-min").textContent = `${level(sigmaMin)}, 0`;
  if (data.live) {
    setTimeout(() => {
      const found = compare(Math.min(16, K));
      $("check").textContent = `Checked just now on ${found.count} of them: apart by at most `
        + `${number(found.worst, 3)} of the largest coordinate at a level, where the file keeps them to ${number(found.rounding, 3)}; `
        + (found.disagree ? `${found.disagree} ends differ.` : "all ends agree.");
    }, 300);
  }
  new ResizeObserver(refresh).observe($("view"));
  refresh();

  // for tests, and for the curious in the console
  window.explorer = {
    data,
    follow: (z) => plainly(data.live ? follow(z) : pathFrom(z)),
    compare,
    state: () => ({ ...plainly(state.path || pathFrom(state.z)), level: state.level, sigma: sigmas[state.level] }),
  };
  function plainly(path) {
    return Object.fromEntries(Object.entries(path).map(([name, value]) =>
      [name, value instanceof Float64Array ? Array.from(value, (v) => Number.isNaN(v) ? null : v) : value]));
  }
})();
