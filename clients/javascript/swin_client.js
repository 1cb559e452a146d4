// Answers `swin-oracle check -- node mine.js` from Node, without a package.  docs/protocol.md is the protocol.
//
//     serve({ precision: "float32", offers: "mlp" }, (words, arrays) => ({ result: { shape, data } }));
//
// The function takes a request's words and arrays and returns the reply's arrays.  It throws Declined for what is out of
// scope, and any other Error for an error.  Arrays that come are Float32Array or Float64Array with a shape.
"use strict";
const fs = require("fs");

class Declined extends Error {}

function read(count) {
  const bytes = Buffer.alloc(count);
  for (let have = 0; have < count; ) {
    let some = 0;
    try {
      some = fs.readSync(0, bytes, have, count - have);
    } catch (error) {
      if (error.code === "EAGAIN") continue;
      if (error.code !== "EOF") throw error;
    }
    if (some === 0) return null; // the input is closed: the same as stop
    have += some;
  }
  return bytes;
}

function write(bytes) {
  for (let done = 0; done < bytes.length; ) {
    try {
      done += fs.writeSync(1, bytes, done);
    } catch (error) {
      if (error.code !== "EAGAIN") throw error;
    }
  }
}

function parse(image) {
  const length = Number(image.readBigUInt64LE(0));
  const { __metadata__: words, ...entries } = JSON.parse(image.toString("utf8", 8, 8 + length));
  const arrays = {};
  for (const [name, { dtype, shape, data_offsets: [start, end] }] of Object.entries(entries)) {
    const copy = image.buffer.slice(image.byteOffset + 8 + length + start, image.byteOffset + 8 + length + end);
    arrays[name] = { shape, data: dtype === "F64" ? new Float64Array(copy) : new Float32Array(copy) };
  }
  return [words, arrays];
}

function reply(words, arrays) {
  const header = { __metadata__: words };
  const parts = [];
  let at = 0;
  for (const [name, { shape, data }] of Object.entries(arrays)) {
    const dtype = data instanceof Float64Array ? "F64" : "F32";
    header[name] = { data_offsets: [at, (at += data.byteLength)], dtype, shape };
    parts.push(Buffer.from(data.buffer, data.byteOffset, data.byteLength));
  }
  const text = Buffer.from(JSON.stringify(header));
  const lengths = Buffer.alloc(16);
  lengths.writeBigUInt64LE(BigInt(8 + text.length + at), 0);
  lengths.writeBigUInt64LE(BigInt(text.length), 8);
  write(Buffer.concat([lengths, text, ...parts]));
}

function serve(about, answer) {
  for (let length; (length = read(8)); ) {
    const image = read(Number(length.readBigUInt64LE(0)));
    if (image === null) return;
    const [words, arrays] = parse(image);
    if (words.cmd === "stop") return;
    try {
      if (words.cmd === "start") reply({ protocol: "1", language: "javascript", ...about }, {});
      else reply({ ok: "1" }, answer(words, arrays));
    } catch (error) {
      const said = String(error.message);
      reply(error instanceof Declined ? { declined: said } : { error: said }, {});
    }
  }
}

module.exports = { serve, Declined };
