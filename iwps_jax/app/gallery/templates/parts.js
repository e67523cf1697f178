"use strict";
// Functions that the page uses; none of them knows its state.

// Keys: a class whose name is a letter or digit has that key, the others the next free.

const KEYS = "1234567890abcdefghijklmnopqrstuvwxyz";

function keysOfClasses(classes) {
  const free = new Set(KEYS);
  const given = new Map();
  for (const name of classes) {
    if (/^[0-9A-Za-z]$/.test(name)) {
      given.set(name, name);
      free.delete(name);
    }
  }
  // A key that differs from another in case alone is no key for a name unlike it.
  for (const name of given.keys()) free.delete(name.toLowerCase());
  const rest = free.values();
  for (const name of classes) {
    if (given.has(name)) continue;
    const next = rest.next();
    if (next.done) break;
    given.set(name, next.value);
  }
  return given;
}

function keyOfNewClass(name, keyOf) {
  // The keys of the others stay as they are; undefined if all are taken.
  const taken = new Set([...keyOf.values()].flatMap((letter) => [letter, letter.toLowerCase()]));
  if (/^[0-9A-Za-z]$/.test(name) && !taken.has(name)) return name;
  return [...KEYS].find((letter) => !taken.has(letter));
}

function pressedClass(event, classOf) {
  // The key's place helps where its character does not: digits of a French keyboard,
  // letters of a Greek one.
  const place = /^(?:Digit|Key)(\w)$/.exec(event.code)?.[1].toLowerCase();
  const pressed = event.key;
  const tries = [pressed, pressed.toLowerCase(), pressed.toUpperCase()];
  const isDigit = place && /\d/.test(place) && !event.shiftKey && !/\d/.test(pressed);
  if (isDigit) tries.unshift(place);
  else if (place && pressed.length === 1 && pressed > "\x7f") tries.push(place);
  return classOf.get(tries.find((letter) => classOf.has(letter)));
}

// Text and elements

function element(tag, properties = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name.startsWith("aria-") || name === "role") made.setAttribute(name, value);
    else made[name] = value;
  }
  made.append(...children.filter((child) => child !== null));
  return made;
}

const percent = (share) => `${(100 * share).toFixed(share > 0.995 || share < 0.1 ? 1 : 0)} %`;
const brief = (number) => String(Number(number.toPrecision(3)));
const signed = (number) => (number < 0 ? "−" : "+") + brief(Math.abs(number));

function csvOf(rows) {
  // A spreadsheet would execute these cells. Whoever reads labels.csv takes the ' away.
  const guarded = (text) => (/^'*[-=+@\t\r\n\uff1d\uff0b\uff0d\uff20]/.test(text) ? `'${text}` : text);
  const quoted = (text) => (/[",;\t\r\n]|^\s|\s$/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);
  return rows.map((row) => row.map((text) => quoted(guarded(text))).join(",") + "\r\n").join("");
}
