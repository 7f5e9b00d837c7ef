// Markers as lists of pixels, stamped into an ImageData by hand: in Chromium without a GPU 50 000 points take 22 ms so,
// 150 as paths, 400 by drawImage (5 400: 3.5, 12 and 30).

const PHASES = 4;  // positions within a pixel, across and down, that markers are made for

// A marker's pixels with their coverage, one list for each of PHASES × PHASES positions within a pixel.
class Stamp {
  constructor(marker, size, rim, line) {
    Object.assign(this, {marker, size, rim, line});
    this.reach = Math.ceil(size * 1.35 + line + 1.5);
    this.phases = [];
    this.width = 0;
  }

  // The list for a phase, in a picture so many pixels wide.
  at(phase, width) {
    if (this.width !== width) Object.assign(this, {width, phases: []});
    return (this.phases[phase] ??= this.made(phase, width));
  }

  made(phase, width) {
    const side = 2 * this.reach + 1, canvas = Stamp.canvas ??= document.createElement("canvas");
    canvas.width = canvas.height = side;
    const ctx = canvas.getContext("2d", {willReadFrequently: true});
    const x = this.reach + ((phase % PHASES) + 0.5) / PHASES, y = this.reach + (Math.floor(phase / PHASES) + 0.5) / PHASES;
    const covered = draw => {
      ctx.clearRect(0, 0, side, side);
      ctx.fillStyle = ctx.strokeStyle = "#000";
      ctx.beginPath();
      draw();
      const {data} = ctx.getImageData(0, 0, side, side), offsets = [], alphas = [];
      for (let i = 0; i < side * side; i++) {
        const alpha = data[4 * i + 3];
        if (alpha < 8) continue;
        offsets.push((Math.floor(i / side) - this.reach) * width + (i % side) - this.reach);
        alphas.push(alpha > 247 ? 255 : alpha);
      }
      return {offsets: Int32Array.from(offsets), alphas: Uint8Array.from(alphas)};
    };
    const filled = this.marker === "o";
    const face = covered(() => {
      tracePath(ctx, this.marker, x, y, this.size);
      if (filled) { ctx.fill(); return; }
      ctx.lineWidth = this.line;
      ctx.lineJoin = "round";
      ctx.stroke();
      ctx.globalAlpha = 0.16;
      ctx.fill();
      ctx.globalAlpha = 1;
    });
    const rim = this.rim && filled ? covered(() => {
      tracePath(ctx, "o", x, y, this.size + this.rim);
      ctx.globalAlpha = 0.75;
      ctx.fill();
      ctx.globalAlpha = 1;
    }) : null;
    return {face, rim};
  }
}

// Draw one list of pixels in a colour; the picture may be transparent below.
function stamp(pixels, bytes, list, at, colour, length) {
  const {offsets, alphas} = list, solid = (0xff000000 | colour) >>> 0;
  const r = colour & 255, g = (colour >> 8) & 255, b = (colour >> 16) & 255;
  for (let k = 0; k < offsets.length; k++) {
    const pixel = at + offsets[k];
    if (pixel < 0 || pixel >= length) continue;
    const alpha = alphas[k];
    if (alpha === 255) { pixels[pixel] = solid; continue; }
    const under = pixels[pixel] >>> 24, i = pixel << 2;
    if (under === 0) { pixels[pixel] = ((alpha << 24) | colour) >>> 0; continue; }
    if (under === 255) {
      bytes[i] += ((r - bytes[i]) * alpha) / 255;
      bytes[i + 1] += ((g - bytes[i + 1]) * alpha) / 255;
      bytes[i + 2] += ((b - bytes[i + 2]) * alpha) / 255;
      continue;
    }
    const kept = under * (255 - alpha) / 255, whole = alpha + kept;
    bytes[i] = (r * alpha + bytes[i] * kept) / whole;
    bytes[i + 1] = (g * alpha + bytes[i + 1] * kept) / whole;
    bytes[i + 2] = (b * alpha + bytes[i + 2] * kept) / whole;
    bytes[i + 3] = whole;
  }
}

// The same at the sides of a picture, where a list of pixels would go on in the next line; edges are not smooth there.
function stampAtSide(pixels, list, px, py, colour, width, height) {
  for (let k = 0; k < list.offsets.length; k++) {
    const offset = list.offsets[k], dy = Math.round(offset / width), x = px + offset - dy * width, y = py + dy;
    if (x >= 0 && x < width && y >= 0 && y < height && list.alphas[k] > 127) pixels[y * width + x] = (0xff000000 | colour) >>> 0;
  }
}
