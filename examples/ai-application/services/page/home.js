// The page: takes a picture, has it painted, and shows both with who did it and how long each part took.
"use strict";

const MAX_BYTES = 10 * 1024 * 1024;
const KINDS = ["image/jpeg", "image/png", "image/webp"];
const $ = (id) => document.getElementById(id);

const chosen = { picture: null, style: null, premium: false, busy: false };

start();

async function start() {
  $("picture").addEventListener("change", () => take($("picture").files[0]));
  for (const button of document.querySelectorAll("[data-sample]")) {
    button.addEventListener("click", () => takeSample(button));
  }
  dropping();
  styles();
  $("form").addEventListener("submit", (event) => { event.preventDefault(); paint(); });
  $("slider").addEventListener("input", () => $("compare").style.setProperty("--at", `${$("slider").value}%`));
  $("again").addEventListener("click", () => { show("empty"); $("picture").focus(); });
  ready();
  await signedIn();
}

async function signedIn() {
  try {
    const answer = await fetch("/api/me", { headers: { "x-requested-with": "XMLHttpRequest" } });
    if (!answer.ok) throw await problem(answer.status, await answer.text());
    const me = await answer.json();
    chosen.premium = me.class === "premium";
    $("user").textContent = me.user || "Guest";
    $("class").textContent = me.class;
    $("class").classList.toggle("premium", chosen.premium);
    $("who").hidden = false;
    $("styles").hidden = !chosen.premium;
    $("fixed").hidden = chosen.premium;
    $("lead").textContent = chosen.premium
      ? "Choose a picture and a style, and a neural network paints the one like the other."
      : "Choose a picture, and a neural network paints it again in a style of its own.";
    document.documentElement.dataset.ready = me.class;
  } catch (error) {
    fail(error);
  }
}

// A file that the user has given, if it is one that can be sent.
function take(file) {
  press(null);
  if (!file) return;
  const reason = unfit(file);
  if (reason) {
    setPicture(null);
    return fail(reason);
  }
  setPicture(file, file.name);
}

function unfit(file) {
  if (!KINDS.includes(file.type)) {
    return words("That is not a picture", `“${file.name}” cannot be used. Please choose a JPEG, PNG or WebP file.`);
  }
  if (file.size > MAX_BYTES) {
    return words("The picture is too large", `“${file.name}” has ${megabytes(file.size)} MB; at most 10 MB are accepted.`);
  }
  return null;
}

// Rounded up where it is little too large, so that it never reads "has 10 MB; at most 10 MB".
function megabytes(bytes) {
  const size = bytes / 1048576;
  return size < 11 ? Math.ceil(size * 10) / 10 : Math.round(size);
}

async function takeSample(button) {
  try {
    const file = await fetchFile(`/page/samples/${button.dataset.sample}.jpg`);
    $("picture").value = "";
    press(button);
    setPicture(file, button.textContent.trim());
  } catch (error) {
    fail(error);
  }
}

async function fetchFile(path) {
  const answer = await fetch(path, { headers: { "x-requested-with": "XMLHttpRequest" } });
  if (!answer.ok) throw await problem(answer.status, await answer.text());
  return new File([await answer.blob()], path.split("/").pop(), { type: "image/jpeg" });
}

function press(button) {
  for (const other of document.querySelectorAll("[data-sample]")) other.setAttribute("aria-pressed", String(other === button));
}

function setPicture(file, name) {
  chosen.picture = file;
  const preview = $("preview");
  if (preview.src) URL.revokeObjectURL(preview.src);
  if (file) preview.src = URL.createObjectURL(file);
  else preview.removeAttribute("src");
  preview.hidden = $("name").hidden = !file;
  $("ask").hidden = Boolean(file);
  $("name").textContent = name || "";
  if (file) $("error").hidden = true;
  ready();
}

function dropping() {
  const drop = $("drop");
  let depth = 0;
  for (const type of ["dragenter", "dragover", "dragleave", "drop"]) {
    document.addEventListener(type, (event) => {
      event.preventDefault();
      depth += { dragenter: 1, dragleave: -1 }[type] || 0;
      if (type === "drop") depth = 0;
      drop.classList.toggle("over", depth > 0);
      if (type === "drop" && event.dataTransfer.files.length) take(event.dataTransfer.files[0]);
    });
  }
}

function styles() {
  const own = $("own-style"), file = $("style-file");
  own.addEventListener("click", () => file.click());
  file.addEventListener("change", () => {
    const picture = file.files[0];
    const reason = picture && unfit(picture);
    if (reason) fail(reason);
    if (picture && !reason) {
      chosen.style = picture;
      own.checked = true;
      $("own-thumb").classList.add("full");
      $("own-thumb").style.backgroundImage = `url(${URL.createObjectURL(picture)})`;
      $("error").hidden = true;
    }
  });
}

function ready() {
  const can = Boolean(chosen.picture) && !chosen.busy;
  $("go").setAttribute("aria-disabled", String(!can));
  $("go-hint").textContent = chosen.busy ? "" : chosen.picture ? "" : "Choose a picture first.";
}

async function paint() {
  if (chosen.busy) return;
  if (!chosen.picture) return fail(words("No picture yet", "Choose a picture or take a sample, then try again."));
  chosen.busy = true;
  ready();
  show("working");
  $("stage").scrollIntoView({ block: "nearest" });
  const began = performance.now();
  const clock = setInterval(() => { $("seconds").textContent = `${((performance.now() - began) / 1000).toFixed(1)} s`; }, 100);
  try {
    const form = new FormData();
    form.append("picture", chosen.picture);
    if (chosen.premium) form.append("style", await style());
    const answer = await send(form);
    await result(answer, performance.now() - began);
  } catch (error) {
    fail(error);
  } finally {
    clearInterval(clock);
    chosen.busy = false;
    ready();
  }
}

async function style() {
  const value = document.querySelector("[name=style]:checked").value;
  if (value === "own") {
    if (!chosen.style) throw words("No style picture yet", "Choose a style picture of your own, or take one of the others.");
    return chosen.style;
  }
  return fetchFile(`/page/samples/style-${value}.jpg`);
}

// fetch() does not tell how much of an upload has gone.
function send(form) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    const progress = $("progress"), step = $("step");
    step.textContent = "Uploading";
    progress.value = 0;
    request.upload.onprogress = (event) => { if (event.lengthComputable) progress.value = (event.loaded / event.total) * 100; };
    request.upload.onload = () => { step.textContent = "Painting"; progress.removeAttribute("value"); };
    request.onload = async () => {
      if (request.status === 200) return resolve(request);
      reject(await problem(request.status, await request.response.text()));
    };
    request.onerror = () => reject(words("The connection was lost", "The server could not be reached. Please check your connection and try again."));
    request.ontimeout = () => reject(words("That took too long", "There was no answer in two minutes. Please try again."));
    request.open("POST", "/api/picture");
    request.setRequestHeader("x-requested-with", "XMLHttpRequest");
    request.responseType = "blob";
    request.timeout = 120000;
    request.send(form);
  });
}

async function result(request, milliseconds) {
  const header = (name) => request.getResponseHeader(name) || "";
  for (const [id, source] of [["before", chosen.picture], ["after", request.response]]) {
    if ($(id).src) URL.revokeObjectURL($(id).src);
    $(id).src = URL.createObjectURL(source);
    await $(id).decode();
  }
  $("download").href = $("after").src;
  $("slider").value = 50;
  $("compare").style.setProperty("--at", "50%");
  const version = header("x-model-version");
  $("f-class").textContent = chosen.premium ? "premium" : "basic";
  $("f-workload").textContent = header("x-workload") || "unknown";
  $("f-model").textContent = header("x-model-name") + (version ? `, version ${version}` : "");
  $("f-runtime").textContent = header("x-model-runtime") || "unknown";
  $("f-endpoint").textContent = header("x-model-endpoint") || "unknown";
  legs(header("server-timing"), milliseconds);
  show("result");
  $("stage").scrollIntoView({ block: "nearest" });
}

// Each part of the way by itself: of what a caller has measured, what it called for is taken off.
function legs(timing, total) {
  const took = {};
  for (const [, name, duration] of timing.matchAll(/([\w-]+);dur=([\d.]+)/g)) took[name] = Number(duration);
  const of = (name) => took[name] || 0;
  const all = [
    ["Browser, gateway with sign-on, and back", total - of("backend"), 1],
    ["ai-backend", of("backend") - of("call"), 2],
    ["Waypoint", of("call") - of("style-transfer"), 3],
    ["Workload: picture to tensor, tensor to picture", of("prepare") + of("encode") + of("decode") + of("finish"), 4],
    ["Gateway: JSON to gRPC and back", of("model") - of("server"), 5],
    ["Model server", of("server"), 6],
  ];
  $("total").textContent = `${Math.round(total)} ms`;
  $("legs").replaceChildren(...all.map(([name, milliseconds, colour]) => {
    const item = document.createElement("li");
    const value = Math.max(0, milliseconds);
    const label = Object.assign(document.createElement("span"), { textContent: name });
    const number = Object.assign(document.createElement("span"), { textContent: `${Math.round(value)} ms`, className: "time" });
    const track = Object.assign(document.createElement("span"), { className: "track" });
    const bar = document.createElement("i");
    bar.style.width = `${Math.min(100, (value / total) * 100)}%`;
    bar.style.background = `var(--leg-${colour})`;
    track.append(bar);
    item.append(label, number, track);
    return item;
  }));
}

function show(which) {
  for (const id of ["error", "working", "empty", "result"]) $(id).hidden = id !== which;
}

function words(title, text) {
  return Object.assign(new Error(text), { title });
}

// What is wrong, by the answer's own words if it has any.
async function problem(status, text) {
  if (status === 401) return words("Your session has ended", "Reload the page to sign in again.");
  let own = "";
  try { own = JSON.parse(text).error; } catch { /* not JSON: from something on the way */ }
  const titles = { 413: "The picture is too large", 415: "That is not a picture", 503: "Not available now", 504: "That took too long" };
  return words(titles[status] || "That did not work", own || `The server has answered with an error (${status}). Please try again later.`);
}

function fail(error) {
  $("error-title").textContent = error.title || "That did not work";
  $("error-text").textContent = error.message;
  for (const id of ["working", "result"]) $(id).hidden = true;
  $("error").hidden = false;
  $("empty").hidden = false;
  // On a phone it is far below the field that it speaks of.
  $("error").scrollIntoView({ block: "nearest" });
}
