/** Files and folders that are opened or dropped, as bytes to send; several files are packed into one tar archive. */

const BLOCK = 512;
const TAR = "application/x-tar";

/**
 * What to send of some files: `{name, bytes, mediaType, query}`.
 *
 * One file is sent as it is; several are those of a folder with a file per frame.
 */
export async function sourceOf(files) {
  if (files.length === 1) {
    return { name: files[0].name, bytes: await files[0].arrayBuffer(), mediaType: "application/octet-stream", query: {} };
  }
  const name = files[0].webkitRelativePath?.split("/")[0] || `${files.length} files`;
  return { name, bytes: await tarOf(files), mediaType: TAR, query: {} };
}

/** Receive what is dropped anywhere on the page, and show meanwhile that it may be. */
export function followDrops(sign, onFiles) {
  let depth = 0;
  const enter = (change) => {
    depth = Math.max(0, depth + change);
    sign.hidden = depth === 0;
  };
  addEventListener("dragenter", () => enter(1));
  addEventListener("dragleave", () => enter(-1));
  addEventListener("dragover", (event) => event.preventDefault());
  addEventListener("drop", async (event) => {
    event.preventDefault();
    enter(-depth);
    onFiles(await droppedFiles(event.dataTransfer));
  });
}

/** The files that were dropped, those of a folder included. */
async function droppedFiles(transfer) {
  const entries = [...transfer.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
  if (!entries.length) return [...transfer.files];
  return (await Promise.all(entries.map(filesOf))).flat();
}

async function filesOf(entry) {
  if (entry.isFile) return [await new Promise((resolve, reject) => entry.file(resolve, reject))];
  const reader = entry.createReader();
  const found = [];
  for (;;) {
    // A reader gives a hundred entries at a time.
    const some = await new Promise((resolve, reject) => reader.readEntries(resolve, reject));
    if (!some.length) break;
    found.push(...some.filter((one) => one.isFile));
  }
  return (await Promise.all(found.map(filesOf))).flat();
}

async function tarOf(files) {
  const parts = [];
  for (const file of files) {
    const content = new Uint8Array(await file.arrayBuffer());
    parts.push(tarHeader(file.name, content.length), content, new Uint8Array((BLOCK - (content.length % BLOCK)) % BLOCK));
  }
  parts.push(new Uint8Array(2 * BLOCK));
  return new Blob(parts).arrayBuffer();
}

/** A header of the format ustar. */
function tarHeader(name, size) {
  const header = new Uint8Array(BLOCK);
  const write = (text, offset) => header.set(new TextEncoder().encode(text), offset);
  const octal = (value, digits) => value.toString(8).padStart(digits, "0");
  write(shortName(name), 0);
  write(`${octal(0o644, 7)}\0${octal(0, 7)}\0${octal(0, 7)}\0${octal(size, 11)}\0${octal(0, 11)}\0`, 100);
  write("        0", 148); // the sum counts as spaces, and it is a plain file
  write("ustar\0" + "00", 257);
  const sum = header.reduce((total, byte) => total + byte, 0);
  write(`${octal(sum, 6)}\0 `, 148);
  return header;
}

/** At most 100 bytes; the end stays, because the number of a frame is the last one in a name. */
function shortName(name) {
  const ascii = name.replaceAll(/[^\x20-\x7e]/g, "_");
  return ascii.slice(-100);
}

/** Have the browser save bytes as a file. */
export function saveAs(blob, name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}
