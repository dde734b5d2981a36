/**
 * A worker that finds a person in pictures, with MediaPipe's pose landmarker (33 landmarks, its smallest network).
 *
 * It is told `{bitmap}` and answers `{bitmap, keypoints}`: rows of `[x, y, score]` in pixels, or null where nobody is. It
 * says `{ready: true}` once it can, or `{error}`.
 */

/* global Pose */

const FILES = new URL("../mediapipe/", location);

// MediaPipe's branch for workers fails on its own pictures, so it is told that this is a page: it needs a canvas for
// WebGL, and elements that load scripts.
self.window = self;
self.document = {
  currentScript: { src: new URL("pose.js", FILES).href },
  addEventListener() {},
  createElement: (name) => (name === "canvas" ? new OffscreenCanvas(1, 1) : new ScriptElement()),
  body: { appendChild: (script) => script.load() },
};

class ScriptElement extends EventTarget {
  setAttribute(name, value) {
    this[name] = value;
  }

  load() {
    importScripts(this.src);
    this.dispatchEvent(new Event("load"));
  }
}

// What it notes about its start comes as warnings.
console.warn = console.debug;

let answer = null;

async function start() {
  importScripts(new URL("pose.js", FILES));
  const pose = new Pose({ locateFile: (name) => new URL(name, FILES).href });
  // On the processor: the network is small, and without a GPU WebGL takes seconds for it. Smoothing is left to the lifter.
  pose.setOptions({ modelComplexity: 0, smoothLandmarks: false, enableSegmentation: false, useCpuInference: true });
  pose.onResults(({ poseLandmarks, image }) => {
    image.close();
    answer = poseLandmarks ?? null;
  });
  await pose.initialize();
  // The first picture compiles and allocates; it takes seconds.
  await pose.send({ image: await createImageBitmap(new ImageData(256, 256)) });
  return pose;
}

const started = start();
started.then(
  () => postMessage({ ready: true }),
  (error) => postMessage({ error: String(error?.message ?? error) }),
);

onmessage = async ({ data: { bitmap } }) => {
  try {
    const pose = await started;
    answer = null;
    await pose.send({ image: bitmap });
    const { width, height } = bitmap;
    const keypoints = answer?.map(({ x, y, visibility }) => [x * width, y * height, visibility ?? 1]) ?? null;
    postMessage({ bitmap, keypoints }, [bitmap]);
  } catch (error) {
    postMessage({ error: String(error?.message ?? error) });
  }
};
