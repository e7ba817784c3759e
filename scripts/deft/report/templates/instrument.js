// The threshold as an instrument: every score of the best phase is in the page, so that any
// threshold is judged here as evaluation does it: NO_PASS when the float32 score is above it.
(function () {
  "use strict";
  var source = document.getElementById("scores-data");
  var root = document.getElementById("instrument");
  if (!source || !root) return;
  var data = JSON.parse(source.textContent);
  document.documentElement.classList.add("js");

  function bytes(text) {
    var raw = atob(text), out = new Uint8Array(raw.length);
    for (var i = 0; i < raw.length; i++) out[i] = raw.charCodeAt(i);
    return out.buffer;
  }
  function side(packed) {
    var values = new Float32Array(bytes(packed.values));
    var counts = packed.counts ? new Uint32Array(bytes(packed.counts)) : null;
    var upto = new Float64Array(values.length + 1); // parts among the first i values
    for (var i = 0; i < values.length; i++) upto[i + 1] = upto[i] + (counts ? counts[i] : 1);
    return { values: values, upto: upto, all: upto[values.length] };
  }
  function passing(values, cut) { // how many values are not above the cut
    var low = 0, high = values.length;
    while (low < high) {
      var middle = (low + high) >> 1;
      if (values[middle] <= cut) low = middle + 1; else high = middle;
    }
    return low;
  }
  var good = side(data.good), ng = side(data.ng);
  var merged = new Float32Array(good.values.length + ng.values.length);
  merged.set(good.values); merged.set(ng.values, good.values.length); merged.sort();
  var stops = merged.filter(function (v, i) { return i === 0 || v !== merged[i - 1]; });

  // Regularised incomplete beta function (continued fraction, Lentz) and its inverse.
  function lgamma(x) {
    var c = [76.18009172947146, -86.50532032941677, 24.01409824083091, -1.231739572450155,
      0.1208650973866179e-2, -0.5395239384953e-5], s = 1.000000000190015, y = x;
    for (var j = 0; j < 6; j++) s += c[j] / ++y;
    return (x + 0.5) * Math.log(x + 5.5) - (x + 5.5) + Math.log(2.5066282746310005 * s / x);
  }
  function fraction(a, b, x) {
    var tiny = 1e-300, c = 1, d = 1 - (a + b) * x / (a + 1);
    d = 1 / (Math.abs(d) < tiny ? tiny : d);
    var h = d;
    for (var m = 1; m < 20000; m++) {
      var n = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m));
      d = 1 + n * d; d = 1 / (Math.abs(d) < tiny ? tiny : d);
      c = 1 + n / c; if (Math.abs(c) < tiny) c = tiny;
      h *= d * c;
      n = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1));
      d = 1 + n * d; d = 1 / (Math.abs(d) < tiny ? tiny : d);
      c = 1 + n / c; if (Math.abs(c) < tiny) c = tiny;
      h *= d * c;
      if (Math.abs(d * c - 1) < 1e-13) break;
    }
    return h;
  }
  function betainc(a, b, x) {
    if (x <= 0) return 0;
    if (x >= 1) return 1;
    var front = Math.exp(lgamma(a + b) - lgamma(a) - lgamma(b) + a * Math.log(x) + b * Math.log1p(-x));
    return x < (a + 1) / (a + b + 2) ? front * fraction(a, b, x) / a : 1 - front * fraction(b, a, 1 - x) / b;
  }
  function quantile(q, a, b) {
    var low = 0, high = 1;
    for (var i = 0; i < 60; i++) {
      var middle = (low + high) / 2;
      if (betainc(a, b, middle) < q) low = middle; else high = middle;
    }
    return (low + high) / 2;
  }
  var confidence = data.confidence;
  function upper(k, n) { return k >= n ? 1 : quantile(confidence, k + 1, n - k); }
  function lower(k, n) { return k === 0 ? 0 : quantile(1 - confidence, k, n - k + 1); }

  function judge(threshold) {
    var cut = Math.fround(threshold);
    var tn = good.upto[passing(good.values, cut)], fn = ng.upto[passing(ng.values, cut)];
    return { fp: good.all - tn, tn: tn, fn: fn, tp: ng.all - fn };
  }
  // The fewest digits that lie well between two scores, as the record rounds its own threshold.
  function between(low, high) {
    var middle = (low + high) / 2, margin = 0.25 * (high - low);
    for (var digits = 0; digits < 9; digits++) {
      var found = Number(middle.toExponential(digits)), cut = Math.fround(found);
      if (found >= low + margin && found <= high - margin && cut >= low && cut < high) return found;
    }
    return low;
  }
  function stopAt(threshold) { return passing(stops, Math.fround(threshold)); } // parts' values passed
  function valueAt(stop) { // the threshold of a stop; stop 0 rejects everything
    if (stop <= 0) return stops[0] > 0 ? between(0, stops[0]) : stops[0] - Math.max(1e-6, Math.abs(stops[0]) * 1e-6);
    return stop >= stops.length ? stops[stops.length - 1] : between(stops[stop - 1], stops[stop]);
  }

  function percent(rate) {
    var shown = 100 * rate;
    return (shown > 0 && shown < 0.01 ? shown.toPrecision(2) : shown.toFixed(2)) + "\u00a0%";
  }
  function met(far, recall) {
    var t = data.target;
    if (t.far_max_pct === null) return null;
    return (t.strict ? 100 * far < t.far_max_pct : 100 * far <= t.far_max_pct) && recall >= t.min_recall - 1e-12;
  }

  var typed = document.getElementById("threshold-typed");
  var start = data.threshold, threshold = start;
  var places = {}, printed = {};
  root.querySelectorAll("[data-show]").forEach(function (place) {
    places[place.getAttribute("data-show")] = place;
    printed[place.getAttribute("data-show")] = place.innerHTML;
  });

  // --- histogram -------------------------------------------------------------------------------
  var chart = document.getElementById("instrument-chart"), NS = "http://www.w3.org/2000/svg";
  // A narrow screen gets a drawing of its own, whose letters are as large as the page's.
  var W = chart.clientWidth && chart.clientWidth < 560 ? 380 : 760, H = 230, L = 46, B = 36, T = 26, BINS = Math.floor(W / 12);
  var first = stops[0], last = stops[stops.length - 1];
  if (first >= 0 && last <= 1) { first = 0; last = 1; } // probabilities
  var span = last - first || 1;
  function x(value) { return L + (W - L - 12) * Math.min(1, Math.max(0, (value - first) / span)); }
  function drawn(name, attributes, parent, text) {
    var element = document.createElementNS(NS, name);
    Object.keys(attributes).forEach(function (key) { element.setAttribute(key, attributes[key]); });
    if (text !== undefined) element.textContent = text;
    parent.appendChild(element);
    return element;
  }
  function binned(kind) {
    var out = new Array(BINS).fill(0);
    for (var i = 0; i < kind.values.length; i++) {
      var bin = Math.min(BINS - 1, Math.floor(BINS * (kind.values[i] - first) / span));
      out[bin] += kind.upto[i + 1] - kind.upto[i];
    }
    return out;
  }
  var svg = drawn("svg", { viewBox: "0 0 " + W + " " + H, role: "img", "aria-label": "Scores of good and defective parts" }, chart);
  var bins = [binned(good), binned(ng)];
  var most = Math.log1p(Math.max.apply(null, bins[0].concat(bins[1])));
  function y(count) { return H - B - (H - B - T) * Math.log1p(count) / most; }
  drawn("text", { x: 0, y: 11, fill: "var(--soft)", "font-size": 11 }, svg, "parts, log scale");
  // With few parts the tens alone would leave one line or none to read a bar by.
  var few = most < Math.log1p(200);
  [1, 2, 5, 10, 20, 50, 100, 1000, 10000, 100000].forEach(function (count) {
    if (Math.log1p(count) > most || (!few && /[25]/.test(count))) return;
    drawn("line", { x1: L, x2: W - 12, y1: y(count), y2: y(count), stroke: "var(--line)" }, svg);
    drawn("text", { x: L - 6, y: y(count) + 4, "text-anchor": "end", fill: "var(--soft)", "font-size": 11 }, svg, count);
  });
  bins.forEach(function (counts, kind) {
    counts.forEach(function (count, bin) {
      if (!count) return;
      drawn("rect", {
        x: x(first + span * bin / BINS) + (kind ? 0 : 1), width: (W - L - 12) / BINS - (kind ? 3 : 1), y: y(count), height: H - B - y(count),
        fill: kind ? "var(--ng)" : "var(--ok)", opacity: kind ? 0.8 : 0.75,
      }, svg);
    });
  });
  for (var tick = 0; tick <= 5; tick++) {
    var at = first + span * tick / 5;
    drawn("text", { x: x(at), y: H - B + 16, "text-anchor": "middle", fill: "var(--soft)", "font-size": 11 }, svg, Number(at.toPrecision(3)));
  }
  drawn("text", { x: L, y: H - 4, fill: "var(--soft)", "font-size": 12 }, svg, "score: higher is worse; drag the line");
  var line = drawn("line", { y1: T - 8, y2: H - B, stroke: "var(--ink)", "stroke-width": 2, "stroke-dasharray": "5 3" }, svg);
  var grip = drawn("circle", { cy: T, r: 7, fill: "var(--accent)" }, svg);

  // --- what follows the threshold --------------------------------------------------------------
  function show() {
    var found = judge(threshold), far = found.fp / good.all, recall = found.tp / ng.all;
    var original = threshold === start;
    var texts = {
      fp: found.fp, tp: found.tp, fn: found.fn, tn: found.tn, far: percent(far), recall: percent(recall),
      far_upper: percent(upper(found.fp, good.all)), recall_lower: percent(lower(found.tp, ng.all)),
    };
    Object.keys(texts).forEach(function (name) {
      if (!places[name]) return;
      if (original) places[name].innerHTML = printed[name];
      else { places[name].textContent = ""; var live = document.createElement("span"); live.setAttribute("data-live", ""); live.textContent = texts[name]; places[name].appendChild(live); }
    });
    var isMet = met(far, recall);
    if (places.met) places.met.textContent = isMet === null ? "" : isMet ? "meets the target on this set" : "off the target on this set";
    line.setAttribute("x1", x(threshold)); line.setAttribute("x2", x(threshold)); grip.setAttribute("cx", x(threshold));
    chart.setAttribute("aria-valuenow", threshold);
    chart.setAttribute("aria-valuetext", "threshold " + threshold + ", " + found.fp + " false alarms, " + found.fn + " misses");
    var inside = !data.exact || (threshold >= data.exact[0] && threshold <= data.exact[1]);
    document.getElementById("instrument-steps").hidden = inside;
    cost(found);
    document.dispatchEvent(new CustomEvent("threshold", { detail: { value: threshold, cut: Math.fround(threshold), start: original } }));
  }
  function set(value, keepText) {
    if (!isFinite(value)) return;
    threshold = value;
    if (!keepText) typed.value = String(value);
    show();
  }
  var alarm = document.getElementById("cost-alarm"), escape_ = document.getElementById("cost-escape");
  function cheapest(perAlarm, perEscape) {
    var best = Infinity, at = 0;
    for (var stop = 0; stop <= stops.length; stop++) {
      var cut = stop ? stops[stop - 1] : -Infinity;
      var fp = good.all - good.upto[passing(good.values, cut)], fn = ng.upto[passing(ng.values, cut)];
      var sum = perAlarm * fp + perEscape * fn;
      if (sum < best) { best = sum; at = stop; } // of equal ones the lowest: fewer escapes
    }
    return { cost: best, stop: at };
  }
  var known = { key: null, found: null };
  function cost(found) {
    var a = Number(alarm.value), e = Number(escape_.value), told = document.getElementById("cost-told");
    var go = document.getElementById("cost-go");
    go.hidden = !(alarm.value !== "" && escape_.value !== "" && a >= 0 && e >= 0 && a + e > 0);
    if (go.hidden) { told.textContent = ""; return; }
    var key = a + "/" + e;
    if (known.key !== key) known = { key: key, found: cheapest(a, e) };
    told.textContent = "Here " + Number((a * found.fp + e * found.fn).toPrecision(6)) + ", cheapest " +
      Number(known.found.cost.toPrecision(6)) + " at " + valueAt(known.found.stop) + ".";
  }
  typed.addEventListener("input", function () { if (typed.value !== "") set(Number(typed.value), true); });
  function step(by) { // the next threshold that decides otherwise
    var stop = Math.min(stops.length, Math.max(0, stopAt(threshold) + by));
    set(valueAt(stop));
  }
  document.getElementById("threshold-down").addEventListener("click", function () { step(-1); });
  document.getElementById("threshold-up").addEventListener("click", function () { step(1); });
  document.getElementById("threshold-reset").addEventListener("click", function () { set(start); });
  [alarm, escape_].forEach(function (field) { field.addEventListener("input", show); });
  document.getElementById("cost-go").addEventListener("click", function () { set(valueAt(known.found.stop)); });
  chart.addEventListener("keydown", function (event) {
    var by = { ArrowLeft: -1, ArrowDown: -1, ArrowRight: 1, ArrowUp: 1 }[event.key];
    if (by) { step(by); event.preventDefault(); }
    if (event.key === "Home") set(valueAt(0));
    if (event.key === "End") set(valueAt(stops.length));
  });
  function drag(event) {
    var box = svg.getBoundingClientRect(), at = (event.clientX - box.left) * W / box.width;
    var value = first + span * (at - L) / (W - L - 12);
    set(valueAt(stopAt(Math.min(last, Math.max(first - span / 1e6, value)))));
  }
  chart.addEventListener("pointerdown", function (event) {
    try { chart.setPointerCapture(event.pointerId); } catch (error) { /* a pointer that is gone */ }
    drag(event); event.preventDefault(); chart.focus();
    function up() { chart.removeEventListener("pointermove", drag); chart.removeEventListener("pointerup", up); chart.removeEventListener("pointercancel", up); }
    chart.addEventListener("pointermove", drag); chart.addEventListener("pointerup", up); chart.addEventListener("pointercancel", up);
  });
  typed.value = String(start);
  show();
})();
