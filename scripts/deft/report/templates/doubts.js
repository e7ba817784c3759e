// Verdicts on doubtful labels: kept in the page, saved as corrections.csv; nothing is sent.
(function () {
  "use strict";
  var data = JSON.parse(document.getElementById("doubts-data").textContent);
  var pairs = Array.from(document.querySelectorAll("[data-doubt]"));
  var save = document.getElementById("doubts-save");
  var count = document.getElementById("doubts-count");

  function verdictOf(pair) {
    var chosen = pair.querySelector("input:checked");
    return chosen ? chosen.value : "";
  }

  function cell(text) {
    return /[",\r\n]/.test(text) ? '"' + text.replace(/"/g, '""') + '"' : text;
  }

  // One line a row, as the pipeline reads it; also what the test compares.
  function csv() {
    var lines = [data.columns.join(",")];
    function add(row) {
      lines.push(data.columns.map(function (name) { return cell(row[name] || ""); }).join(","));
    }
    function part(row) {
      return JSON.stringify([row.table, row.input_path, row.golden_path || "", row.object_name]);
    }
    // An earlier line may leave the golden picture out.
    var given = [];
    data.rows.filter(function (_, i) { return verdictOf(pairs[i]); }).forEach(function (row) {
      given.push(part(row), part(Object.assign({}, row, { golden_path: "" })));
    });
    data.before.filter(function (row) { return given.indexOf(part(row)) < 0; }).forEach(add);
    pairs.forEach(function (pair, i) {
      var verdict = verdictOf(pair);
      if (!verdict) return;
      var row = Object.assign({}, data.rows[i], { verdict: verdict });
      if (verdict === data.wrong) row.new_label = pair.querySelector("select").value;
      add(row);
    });
    return lines.join("\n") + "\n";
  }

  // A page that refreshes itself while the run works must not lose what was chosen.
  var store = "doubts:" + location.pathname;
  function keep() {
    var chosen = {};
    pairs.forEach(function (pair, i) {
      if (verdictOf(pair)) chosen[JSON.stringify(data.rows[i])] = [verdictOf(pair), pair.querySelector("select").value];
    });
    try { sessionStorage.setItem(store, JSON.stringify(chosen)); } catch (error) { /* not here */ }
  }
  function recall() {
    var chosen = {};
    try { chosen = JSON.parse(sessionStorage.getItem(store)) || {}; } catch (error) { return; }
    pairs.forEach(function (pair, i) {
      var told = chosen[JSON.stringify(data.rows[i])];
      if (!told) return;
      pair.querySelector("select").value = told[1];
      choose(pair, told[0]);
    });
  }

  function show() {
    var given = pairs.filter(verdictOf).length;
    save.disabled = !given;
    count.textContent = given ? given + " of " + pairs.length + " have a verdict" : "no verdict yet";
    keep();
  }

  function choose(pair, verdict) {
    pair.querySelectorAll("input").forEach(function (one) { one.checked = one.value === verdict; });
    show();
  }

  pairs.forEach(function (pair, i) {
    pair.addEventListener("change", function (event) {
      if (event.target.tagName === "SELECT") choose(pair, data.wrong);
      show();
    });
    pair.addEventListener("keydown", function (event) {
      if (event.target.tagName === "SELECT" || event.ctrlKey || event.metaKey || event.altKey) return;
      var verdict = data.verdicts[Number(event.key) - 1];
      var next = { j: i + 1, k: i - 1 }[event.key];
      if (verdict) choose(pair, verdict);
      else if (event.key === "u") choose(pair, "");
      else if (next !== undefined && pairs[next]) pairs[next].focus();
      else return;
      event.preventDefault();
    });
  });

  save.addEventListener("click", function () {
    var link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([csv()], { type: "text/csv" }));
    link.download = data.file;
    link.click();
    setTimeout(function () { URL.revokeObjectURL(link.href); }, 1000);
  });
  recall();
  show();
})();
