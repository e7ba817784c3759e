// The map of the embeddings: points open their picture.
(function () {
  "use strict";
  var source = document.getElementById("map-data"), root = document.getElementById("map-drawing");
  if (!source || !root) return;
  document.documentElement.classList.add("js");
  var data = JSON.parse(source.textContent), NS = "http://www.w3.org/2000/svg";
  var W = 760, H = 420, EDGE = 12, colours = ["var(--soft)", "var(--ok)", "var(--ng)"];
  function drawn(name, attributes, parent) {
    var made = document.createElementNS(NS, name);
    Object.keys(attributes).forEach(function (key) { made.setAttribute(key, attributes[key]); });
    parent.appendChild(made);
    return made;
  }
  var svg = drawn("svg", { viewBox: "0 0 " + W + " " + H, role: "img", "aria-label": "Embeddings of pool, mined and weak pictures" }, root);
  var layers = data.kinds.map(function (kind) { return drawn("g", { "data-kind": kind }, svg); });
  var circles = data.points.map(function (point, i) {
    var circle = drawn("circle", {
      cx: EDGE + (W - 2 * EDGE) * point[0], cy: H - EDGE - (H - 2 * EDGE) * point[1], r: point[2] ? 4 : 2.5,
      fill: colours[point[2]], opacity: point[2] ? 0.75 : 0.4, "data-point": i,
    }, layers[point[2]]);
    return circle;
  });
  var panel = document.getElementById("map-shown"), marked = null, at = -1;
  function show(i) {
    if (i < 0 || i >= circles.length) return;
    at = i;
    if (marked) marked.removeAttribute("stroke");
    marked = circles[i];
    marked.setAttribute("stroke", "var(--ink)"); marked.setAttribute("stroke-width", 2);
    var point = data.points[i], address = data.folders[point[4]] + "/" + encodeURIComponent(point[5]);
    panel.textContent = "";
    if (point[6]) {
      var img = document.createElement("img");
      img.src = "data:image/webp;base64," + point[6]; img.alt = point[5];
      panel.appendChild(img);
    }
    var words = document.createElement("div");
    words.appendChild(document.createTextNode(data.kinds[point[2]] + ", " + data.labels[point[3]] + ": "));
    var link = document.createElement("a");
    link.href = address; link.target = "_blank"; link.rel = "noopener"; link.textContent = point[5];
    words.appendChild(link);
    panel.appendChild(words);
  }
  function nearest(event) {
    var box = svg.getBoundingClientRect(), best = -1, least = 144;
    var x = (event.clientX - box.left) * W / box.width, y = (event.clientY - box.top) * H / box.height;
    circles.forEach(function (circle, i) {
      if (layers[data.points[i][2]].hasAttribute("display")) return;
      var dx = circle.getAttribute("cx") - x, dy = circle.getAttribute("cy") - y, d = dx * dx + dy * dy;
      if (d <= least) { least = d; best = i; }
    });
    return best;
  }
  svg.addEventListener("click", function (event) { show(nearest(event)); });
  root.addEventListener("keydown", function (event) {
    var by = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (by) { show(Math.min(circles.length - 1, Math.max(0, at + by))); event.preventDefault(); }
  });
  document.querySelectorAll("#map input[type=checkbox]").forEach(function (box) {
    box.addEventListener("change", function () {
      var layer = layers[data.kinds.indexOf(box.name)];
      if (box.checked) layer.removeAttribute("display"); else layer.setAttribute("display", "none");
    });
  });
})();
