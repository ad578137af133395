// Shows, of the fields that go with a choice, those of what is chosen. Without it all of them are there.
"use strict";

const CHOICES = "select[data-fields-of]";

/** The fields of each choice that a select can be set to, by name. */
function fieldsByChoice(select) {
  return JSON.parse(select.dataset.fieldsOf);
}

/** What every field of the select's own row (or form) begins with, such as “conditions-0-”. */
function prefixOf(select) {
  return select.name.slice(0, select.name.lastIndexOf("-") + 1);
}

/** The names of the fields that a select shows or hides. */
function governedBy(select) {
  return new Set(Object.values(fieldsByChoice(select)).flat());
}

/** Shows what every select of a row that has a say in a field has for its choice, and hides the rest. */
function showChosenFields(select) {
  const prefix = prefixOf(select);
  const selects = [...select.form.querySelectorAll(CHOICES)].filter((other) => prefixOf(other) === prefix);
  for (const name of governedBy(select)) {
    const isShown = selects
      .filter((other) => governedBy(other).has(name))
      .every((other) => (fieldsByChoice(other)[other.value] ?? []).includes(name));
    show(select.form, prefix + name, isShown);
  }
}

/** Shows or hides a field with its label, or the group of rows of that name, unless rows are in it. */
function show(form, name, isShown) {
  const group = document.getElementById(`${name}-group`);
  if (group) {
    group.hidden = !isShown && !group.querySelector(".original");
    return;
  }
  const line = form.querySelector(`[name="${CSS.escape(name)}"]`)?.closest(".field-line");
  if (line) {
    line.hidden = !isShown;
    const row = line.closest(".field-row");
    row.hidden = [...row.querySelectorAll(".field-line")].every((other) => other.hidden);
  }
}

function showAll(root) {
  for (const select of root.querySelectorAll(CHOICES)) {
    showChosenFields(select);
  }
}

document.addEventListener("change", (event) => {
  if (event.target.matches?.(CHOICES)) {
    showChosenFields(event.target);
  }
});
document.addEventListener("DOMContentLoaded", () => showAll(document));
document.addEventListener("formset:added", (event) => showAll(event.target));
