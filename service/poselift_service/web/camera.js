/** The eye that the poses are seen with: it turns about a point above the ground. */

const FIELD_OF_VIEW = (36 * Math.PI) / 180;
const NEAR_M = 0.2;
const DEGREE = Math.PI / 180;

export const VIEWS = { camera: [0, 0], side: [90, 0], top: [0, 89], corner: [-32, 14] };

export class Camera {
  yaw = VIEWS.corner[0];
  pitch = VIEWS.corner[1];
  zoom = 1;
  /** Half the width and the height in metres of what is to fit into the view at zoom 1. */
  extent = [0.9, 1.9];
  /** The point of the ground, x and z in metres, that it turns about. */
  target = [0, 0];
  /** How far the view is raised, in metres, for people who have left the ground. */
  lift = 0;
  #width = 1;
  #height = 1;

  turn(yaw, pitch) {
    this.yaw = ((((this.yaw + yaw + 180) % 360) + 360) % 360) - 180;
    this.pitch = Math.max(-25, Math.min(89, this.pitch + pitch));
  }

  zoomBy(factor) {
    this.zoom = Math.max(0.4, Math.min(5, this.zoom * factor));
  }

  /** To be called once per drawing, with the size of the canvas in pixels. */
  prepare(width, height) {
    [this.#width, this.#height] = [width, height];
    const tangent = Math.tan(FIELD_OF_VIEW / 2);
    const [halfWidth, tall] = this.extent;
    const aspect = width / height;
    const distance = Math.max((tall * 0.62) / tangent, (halfWidth + 0.75) / (tangent * aspect));
    this.distance = (distance + halfWidth * 0.4) / this.zoom;
    this.focal = height / (2 * tangent);
    this.centre = tall * 0.5;
    [this.sinYaw, this.cosYaw] = [Math.sin(this.yaw * DEGREE), Math.cos(this.yaw * DEGREE)];
    [this.sinPitch, this.cosPitch] = [Math.sin(this.pitch * DEGREE), Math.cos(this.pitch * DEGREE)];
  }

  /** Write x and y in pixels, pixels per metre, and the distance in metres of a point into `out`. */
  project(x, y, z, out) {
    const [right, near] = [x - this.target[0], z - this.target[1]];
    const side = this.cosYaw * right - this.sinYaw * near;
    const back = this.sinYaw * right + this.cosYaw * near;
    const up = y - this.lift - this.centre;
    const height = this.cosPitch * up - this.sinPitch * back;
    const depth = Math.max(NEAR_M, this.distance - (this.sinPitch * up + this.cosPitch * back));
    const scale = this.focal / depth;
    out[0] = this.#width / 2 + side * scale;
    out[1] = this.#height / 2 - height * scale;
    out[2] = scale;
    out[3] = depth;
    return out;
  }
}
