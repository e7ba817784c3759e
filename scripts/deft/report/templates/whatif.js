// What-if: moves along the thresholds that the evaluation already swept. Every number that it
// shows stands in analysis.json under the key that the element then carries.
(function () {
  "use strict";
  var data = document.getElementById("whatif-data");
  var slider = document.getElementById("whatif-slider");
  if (!data || !slider) return;
  var steps = JSON.parse(data.textContent);
  document.documentElement.classList.add("js");
  function show() {
    var step = steps[Number(slider.value)];
    document.querySelectorAll("[data-whatif]").forEach(function (place) {
      var name = place.getAttribute("data-whatif");
      place.textContent = step[name];
      place.setAttribute("data-key", step.key + "." + name);
    });
    slider.setAttribute("aria-valuetext", "threshold " + step.threshold);
  }
  slider.addEventListener("input", show);
  show();
})();
