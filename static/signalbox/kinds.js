// Shows, of a row of several kinds, the fields of the kind that is chosen. Without it all of them are there.
"use strict";

/** Shows the fields of the chosen kind in one row of a formset, and hides those of the others. */
function showFieldsOfKind(select) {
  const fieldsOfKinds = JSON.parse(select.dataset.kindFields);
  const chosen = new Set(fieldsOfKinds[select.value] ?? []);
  const prefix = select.name.slice(0, -"kind".length);
  for (const name of new Set(Object.values(fieldsOfKinds).flat())) {
    const line = lineOf(select, prefix + name);
    if (line) {
      line.hidden = !chosen.has(name);
      line.classList.toggle("kind-hidden", line.hidden);
    }
  }
}

/** The line of the row that holds a field, whatever widget it has. */
function lineOf(select, name) {
  const field = select.form?.querySelector(`[name="${CSS.escape(name)}"]`);
  return field?.closest(".field-row, .form-row-field, [class*='field-']");
}

document.addEventListener("change", (event) => {
  if (event.target.matches?.("select[data-kind-fields]")) {
    showFieldsOfKind(event.target);
  }
});

function showAll(root) {
  for (const select of root.querySelectorAll("select[data-kind-fields]")) {
    showFieldsOfKind(select);
  }
}

document.addEventListener("DOMContentLoaded", () => showAll(document));
document.addEventListener("formset:added", (event) => showAll(event.target));
