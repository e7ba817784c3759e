// Failures to look at: filters, order, keyboard; decisions follow the instrument's threshold.
(function () {
  "use strict";
  var source = document.getElementById("gallery-data"), root = document.getElementById("failures");
  if (!source || !root) return;
  document.documentElement.classList.add("js");
  var data = JSON.parse(source.textContent), list = document.getElementById("gallery-list");
  var more = document.getElementById("gallery-more");
  var told = document.getElementById("gallery-told"), dialog = document.getElementById("gallery-large");
  var best = data.phases.findIndex(function (p) { return p.best; });
  var cuts = data.phases.map(function (p) { return Math.fround(p.threshold); });
  var fields = {};
  root.querySelectorAll("select").forEach(function (select) { fields[select.name] = select; });

  function option(select, value, text) {
    var item = document.createElement("option");
    item.value = value; item.textContent = text === undefined ? value : text;
    select.appendChild(item);
  }
  data.phases.forEach(function (p, i) { option(fields.lap, i, p.name + (p.best ? " (best)" : "")); });
  // The page of a phase links to its own failures: #failures-iter1.
  var asked = data.phases.findIndex(function (p) { return location.hash === "#failures-" + p.name; });
  var first = asked < 0 ? best : asked;
  fields.lap.value = String(first);
  ["label", "part", "board", "light"].forEach(function (name) {
    var values = Array.from(new Set(data.items.map(function (item) { return item[name]; }))).sort();
    values.forEach(function (value) { if (value) option(fields[name], value); });
    fields[name].parentNode.hidden = values.length < 2;
  });

  function wrong(item, lap) {
    var score = item.scores[lap];
    return score === null || score === undefined ? null : (score > cuts[lap]) !== item.ng;
  }
  function verdict(item, lap) {
    var score = item.scores[lap];
    if (score === null || score === undefined) return "not scored";
    var above = score > cuts[lap];
    return item.ng ? (above ? "caught" : "miss") : (above ? "false alarm" : "passed");
  }
  function flip(item, lap) {
    if (lap === 0) return "";
    var before = wrong(item, lap - 1), now = wrong(item, lap);
    if (before === null || now === null || before === now) return "";
    return now ? "broke" : "fixed";
  }
  var kinds = {
    failures: function (item, lap) { return wrong(item, lap) === true; },
    "false alarm": function (item, lap) { return verdict(item, lap) === "false alarm"; },
    miss: function (item, lap) { return verdict(item, lap) === "miss"; },
    fixed: function (item, lap) { return flip(item, lap) === "fixed"; },
    broke: function (item, lap) { return flip(item, lap) === "broke"; },
    near: function (item, lap) { return wrong(item, lap) !== null; },
    all: function () { return true; },
  };
  var NEAR = 24, FIRST = 24, whole = false;
  function weakness(item, lap) { return (item.ng ? -1 : 1) * (item.scores[lap] - cuts[lap]); }
  var orders = {
    worst: function (lap) { return function (a, b) { return weakness(b, lap) - weakness(a, lap); }; },
    high: function (lap) { return function (a, b) { return b.scores[lap] - a.scores[lap]; }; },
    low: function (lap) { return function (a, b) { return a.scores[lap] - b.scores[lap]; }; },
    name: function () { return function (a, b) { return a.object < b.object ? -1 : a.object > b.object ? 1 : a.line - b.line; }; },
  };

  function element(tag, text, name) {
    var made = document.createElement(tag);
    if (text !== undefined) made.textContent = text;
    if (name) made.className = name;
    return made;
  }
  function link(address, text) {
    var made = element("a", text);
    made.href = address; made.target = "_blank"; made.rel = "noopener";
    return made;
  }
  function picture(item) {
    if (!item.picture) return element("div", "picture not in the page", "empty");
    var made = element("img");
    made.src = item.picture; // part of the page: nothing to load lazily, and print has it all
    made.alt = "golden, test and difference of " + item.object;
    return made;
  }
  function about(item, lap, into) {
    var head = element("div");
    head.appendChild(element("strong", item.label));
    head.appendChild(element("span", " " + verdict(item, lap), wrong(item, lap) ? "flag" : "soft"));
    var turned = flip(item, lap);
    if (turned) head.appendChild(element("span", " " + turned + " in this lap", "flag " + turned));
    into.appendChild(head);
    into.appendChild(element("div", [item.object, item.part, item.board, item.light].filter(Boolean).join(" · "), "soft"));
    if (item.scores[lap] !== null) {
      var margin = item.scores[lap] - cuts[lap];
      into.appendChild(element("div", "score " + Number(item.scores[lap].toPrecision(5)) + ", " + Number(Math.abs(margin).toPrecision(3)) + (margin > 0 ? " above" : " below")));
    }
  }
  var shown = [], cards = [];
  function render() {
    var lap = Number(fields.lap.value), keep = kinds[fields.verdict.value];
    shown = data.items.filter(function (item) {
      return keep(item, lap) && ["label", "part", "board", "light"].every(function (name) {
        return !fields[name].value || item[name] === fields[name].value;
      });
    });
    if (fields.verdict.value === "near") {
      shown.sort(function (a, b) { return Math.abs(weakness(a, lap)) - Math.abs(weakness(b, lap)); });
      shown = shown.slice(0, NEAR);
    }
    shown.sort(orders[fields.order.value](lap));
    list.textContent = ""; cards = [];
    more.hidden = whole || shown.length <= FIRST;
    more.textContent = "show all " + shown.length;
    (whole ? shown : shown.slice(0, FIRST)).forEach(function (item, i) {
      var card = element("figure", undefined, "failure");
      card.tabIndex = i === 0 ? 0 : -1;
      card.setAttribute("data-line", item.line);
      card.appendChild(picture(item));
      var caption = element("figcaption");
      about(item, lap, caption);
      card.appendChild(caption);
      card.addEventListener("click", function () { open(i); });
      list.appendChild(card); cards.push(card);
    });
    function lines(items) { return new Set(items.map(function (item) { return item.line; })).size; }
    var parts = lines(shown), misses = lines(shown.filter(function (item) { return item.ng; }));
    told.textContent = parts + (parts === 1 ? " part" : " parts") + " of " + data.phases[lap].name + " at threshold " + data.phases[lap].threshold;
    if (fields.verdict.value === "failures" && parts) { // far false alarms stand before all misses
      told.textContent += ": " + (parts - misses) + (parts - misses === 1 ? " false alarm, " : " false alarms, ") + misses + (misses === 1 ? " miss" : " misses");
    }
    if (!shown.length) list.appendChild(element("p", "Nothing here for these filters.", "soft"));
  }
  function focus(i) {
    if (i < 0 || i >= cards.length) return;
    cards.forEach(function (card) { card.tabIndex = -1; });
    cards[i].tabIndex = 0; cards[i].focus();
  }
  function columns() {
    var top = cards.length && cards[0].offsetTop;
    return Math.max(1, cards.filter(function (card) { return card.offsetTop === top; }).length);
  }
  list.addEventListener("keydown", function (event) {
    var at = cards.indexOf(document.activeElement);
    if (at < 0) return;
    var moves = { ArrowRight: 1, j: 1, ArrowLeft: -1, k: -1, ArrowDown: columns(), ArrowUp: -columns() };
    if (event.key in moves) { focus(at + moves[event.key]); event.preventDefault(); }
    if (event.key === "Enter" || event.key === " ") { open(at); event.preventDefault(); }
  });
  var opened = 0;
  more.addEventListener("click", function () { whole = true; render(); focus(FIRST); });
  function open(i) {
    if (i < 0 || i >= shown.length) return;
    opened = i;
    var item = shown[i], lap = Number(fields.lap.value), body = dialog.querySelector(".large");
    body.textContent = "";
    body.appendChild(picture(item));
    body.appendChild(element("div", "golden · test · difference, where they differ most is framed", "soft small"));
    about(item, lap, body);
    body.appendChild(element("div", "line " + item.line + " of the KPI table" + (item.place ? ", place " + item.place : ""), "soft"));
    data.phases.forEach(function (p, n) {
      if (item.scores[n] === null) return;
      body.appendChild(element("div", p.name + ": " + Number(item.scores[n].toPrecision(6)) + " → " + verdict(item, n)));
    });
    var links = element("div");
    if (item.test) links.appendChild(link(item.test, "test picture"));
    if (item.test && item.golden) links.appendChild(document.createTextNode(" · "));
    if (item.golden) links.appendChild(link(item.golden, "golden picture"));
    body.appendChild(links);
    if (!dialog.open) dialog.showModal();
  }
  dialog.addEventListener("keydown", function (event) {
    var by = { ArrowRight: 1, j: 1, ArrowLeft: -1, k: -1 }[event.key];
    if (by) { open(opened + by); event.preventDefault(); }
  });
  dialog.addEventListener("close", function () { focus(opened); });
  dialog.addEventListener("click", function (event) { if (event.target === dialog) dialog.close(); });
  Object.keys(fields).forEach(function (name) { fields[name].addEventListener("change", function () { whole = false; render(); }); });
  var due = null;
  document.addEventListener("threshold", function (event) {
    cuts[best] = event.detail.cut; data.phases[best].threshold = event.detail.value;
    if (Number(fields.lap.value) !== best && !(Number(fields.lap.value) === best + 1)) return;
    if (due === null) due = setTimeout(function () { due = null; render(); }, 30); // dragging is smooth
  });
  if (!data.items.some(function (item) { return wrong(item, first); })) fields.verdict.value = "near";
  render();
  if (asked >= 0) root.scrollIntoView();
})();
