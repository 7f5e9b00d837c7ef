// Zoom and shift, the same in every branch's picture, and the lens that follows: from the plane to pixels of a picture.

class Zoom {
  constructor() { this.reset(); }

  reset() {
    this.factor = 1;
    this.shiftX = this.shiftY = 0;  // in the plane's units
  }

  // A point (x, y) of the plane is drawn at (x * scale + ox, oy - y * scale). The title has its room above `box`.
  lens({width, height}, [x0, x1, y0, y1]) {
    const margin = Math.min(Math.max(18, 0.045 * Math.min(width, height)), 0.12 * height), top = margin + Math.min(10, 0.05 * height);
    const fit = Math.min((width - 2 * margin) / Math.max(x1 - x0, 1e-9), (height - top - margin) / Math.max(y1 - y0, 1e-9));
    const scale = this.factor * fit, middle = (height + top - margin) / 2;
    const cx = (x0 + x1) / 2 + this.shiftX, cy = (y0 + y1) / 2 + this.shiftY;
    return {scale, ox: width / 2 - cx * scale, oy: middle + cy * scale, middle};
  }

  // Zoom around a point of a picture, or its middle: what lies there stays there.
  by(factor, {width, height, lens: {scale, middle}}, x = width / 2, y = height / 2) {
    const next = Math.min(Math.max(this.factor * factor, 0.5), 60), grown = next / this.factor;
    this.shiftX += ((x - width / 2) / scale) * (1 - 1 / grown);
    this.shiftY -= ((y - middle) / scale) * (1 - 1 / grown);
    this.factor = next;
  }

  // Move the picture by pixels.
  drag({lens: {scale}}, right, down) {
    this.shiftX -= right / scale;
    this.shiftY += down / scale;
  }
}
