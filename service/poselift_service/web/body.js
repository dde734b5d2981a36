/** The parts of a body as they are drawn: which joints a limb joins, and how thick it is, in metres. */

const RADII = [
  [/hip$|pelvis/, 0.062],
  [/knee$/, 0.05],
  [/ankle$/, 0.036],
  [/spine|thorax|neck$/, 0.058],
  [/shoulder$/, 0.046],
  [/elbow$/, 0.037],
  [/wrist$/, 0.028],
];
const JOINT_M = 0.02;
export const HEAD_M = 0.105;

function radius(name) {
  return RADII.find(([pattern]) => pattern.test(name))?.[1] ?? JOINT_M;
}

/** Limbs, trunk and head of a skeleton, by the indices of its joints. */
export function bodyOf({ names, parents }) {
  const at = (name) => names.indexOf(name);
  const [crown, face] = [at("head"), at("neck_nose")];
  const isHead = (joint) => joint === crown;
  const limbs = parents.flatMap((parent, joint) => {
    if (parent < 0 || (isHead(joint) && face >= 0)) return [];
    return [{ from: parent, to: joint, radii: [radius(names[parent]), radius(names[joint])], right: isRight(names[joint]) }];
  });
  const trunk = ["left_shoulder", "right_shoulder", "right_hip", "left_hip"].map(at);
  return {
    limbs,
    trunk: trunk.includes(-1) ? null : trunk,
    head: crown < 0 ? null : { crown, face: face < 0 ? crown : face },
    right: names.map(isRight),
  };
}

function isRight(name) {
  return name.startsWith("right_");
}

/** The lines of a 2D skeleton: to each joint from its parent, and across shoulders and hips that have none. */
export function linesOf(skeleton) {
  const { joint_names: names, parents } = skeleton;
  const lines = parents.flatMap((parent, joint) => (parent < 0 ? [] : [[parent, joint]]));
  for (const part of ["shoulder", "hip"]) {
    const [left, right] = [names.indexOf(`left_${part}`), names.indexOf(`right_${part}`)];
    if (left >= 0 && right >= 0 && (parents[left] < 0 || parents[right] < 0 || part === "hip")) lines.push([left, right]);
  }
  const noses = names.indexOf("nose");
  const shoulders = [names.indexOf("left_shoulder"), names.indexOf("right_shoulder")];
  if (noses >= 0 && parents[noses] < 0 && !shoulders.includes(-1)) lines.push([noses, ...shoulders]);
  return lines;
}
