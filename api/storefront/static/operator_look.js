// What buyers see of a product: its pictures, and its descriptions in other languages.

import { isolated, text } from "./locale.js";
import { onSubmit } from "./operator_parts.js";
import { ask, explain, showResult, upload } from "./operator_session.js";

const CHANGE = `mutation ChangeLook($input: UpdateProductInput!) { updateProduct(input: $input) { id } }`;

const pictures = document.getElementById("pictures");
const descriptions = document.getElementById("descriptions");
const list = pictures.querySelector("ol");
const url = document.getElementById("picture-url");
const texts = [...descriptions.querySelectorAll("textarea")];
let base = null; // the product that both forms show
let shown = []; // the pictures of the form, in their order

const failed = (message) => Object.assign(new Error(message), { code: "REFUSED" });
const rowOf = (picture) => list.children[shown.indexOf(picture)];
const descriptionIn = (product, tag) => product.descriptions.find(({ language }) => language === tag)?.text ?? "";
const isPicturesEdited = () => JSON.stringify(shown) !== JSON.stringify(base.images);
const isDescribedAnew = (field) => field.value.trim() !== descriptionIn(base, field.name).trim();

function makeRow(picture) {
  const row = document.getElementById("picture").content.firstElementChild.cloneNode(true);
  const [image, alt] = [row.querySelector("img"), row.querySelector("input")];
  [image.src, image.width, image.height] = [picture.url, picture.width, picture.height];
  alt.value = picture.alt;
  alt.addEventListener("input", () => (picture.alt = alt.value.trim()));
  row.addEventListener("click", ({ target }) => {
    if (target.dataset.step) move(picture, Number(target.dataset.step));
  });
  return row;
}

// Moves a picture to the front by a step, or removes it with the step 0. The focus stays with what was pressed, or goes
// on to the next picture.
function move(picture, step) {
  const from = shown.indexOf(picture);
  shown.splice(from, 1);
  if (step) shown.splice(Math.max(0, from + step), 0, picture);
  showPictures();
  const next = step ? rowOf(picture) : list.children[Math.min(from, shown.length - 1)];
  (next?.querySelector(`[data-step="${step}"]`) ?? document.getElementById("picture-file")).focus();
}

function showPictures() {
  list.replaceChildren(...shown.map(makeRow));
}

function add(picture) {
  shown.push({ ...picture, alt: "" });
  list.append(makeRow(shown.at(-1)));
  list.lastElementChild.querySelector("input").focus();
}

// Returns a picture of another server, which says how large it is. Throws if there is none.
function measured(address) {
  const image = new Image();
  return new Promise((resolve, reject) => {
    image.addEventListener("load", () =>
      resolve({ url: address, width: image.naturalWidth, height: image.naturalHeight }),
    );
    image.addEventListener("error", () => reject(failed(text("operator_no_picture"))));
    image.src = address;
  });
}

// Adds a picture once `find` has found it, and says so where it is not found.
async function addFound(field, find) {
  const result = pictures.querySelector(".result");
  showResult(result, text("operator_adding"));
  try {
    add(await find());
    field.value = "";
    showResult(result, text("operator_picture_added"));
  } catch (error) {
    showResult(result, explain(error), true);
    field.focus();
  }
}

// Shows the product in both forms. What the operator has edited in one of them stays there.
export function fillLook(product, { saved = [] } = {}) {
  const keeps = (form, isEdited) => base !== null && !saved.includes(form) && isEdited();
  const [keepsPictures, kept] = [
    keeps(pictures, isPicturesEdited),
    texts.filter((field) => keeps(descriptions, () => isDescribedAnew(field))),
  ];
  base = product;
  if (!keepsPictures) {
    shown = product.images.map((image) => ({ ...image }));
    showPictures();
  }
  for (const field of texts) if (!kept.includes(field)) field.value = descriptionIn(product, field.name);
}

// Returns the descriptions of the form, and those in languages that the form does not have.
function described() {
  const tags = texts.map(({ name }) => name);
  const others = base.descriptions.filter(({ language }) => !tags.includes(language));
  const written = texts.map(({ name, value }) => ({ language: name, text: value.trim() })).filter(({ text }) => text);
  return [...others, ...written];
}

// Makes the forms work. `readProduct` reads the product, and fills both forms with it.
export function steerLook(readProduct) {
  const saving = (form, isEdited, values) => async () => {
    if (!isEdited()) return text("operator_unchanged");
    try {
      await ask(CHANGE, { input: { productId: base.id, revision: base.revision, ...values() } });
    } catch (error) {
      if (error.code !== "STALE_REVISION") throw error;
      await readProduct([]);
      throw Object.assign(new Error(text("operator_stale_look")), { code: error.code });
    }
    await readProduct([form]);
    return text("operator_saved");
  };
  onSubmit(
    pictures,
    saving(pictures, isPicturesEdited, () => ({ images: shown })),
  );
  onSubmit(
    descriptions,
    saving(
      descriptions,
      () => texts.some(isDescribedAnew),
      () => ({ descriptions: described() }),
    ),
  );
  document.getElementById("picture-file").addEventListener("change", ({ target }) => {
    if (target.files.length) addFound(target, () => upload(target.files[0]));
  });
  document.getElementById("add-picture").addEventListener("click", () => {
    if (url.value.trim() && url.reportValidity()) addFound(url, () => measured(url.value.trim()));
  });
}

// What a change of pictures or descriptions was, in words: the log has them as JSON.
export function lookInWords(field, value) {
  const parts = JSON.parse(value).map(({ alt, language }) => (field === "images" ? alt : language));
  return parts.map(isolated).join(", ");
}
