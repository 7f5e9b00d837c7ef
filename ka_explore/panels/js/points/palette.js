// Colours: a palette, and for every point its index in it.

const RAMP = 64;  // steps of a colour map

function rgbOf(text) {
  const hex = text.match(/^#([0-9a-f]{6})$/i);
  if (hex) return [0, 2, 4].map(i => parseInt(hex[1].slice(i, i + 2), 16));
  return (text.match(/[\d.]+/g)?.map(Number) ?? [136, 136, 136]).slice(0, 3);
}

const mixed = (one, other, share) => one.map((part, i) => Math.round(part + share * (other[i] - part)));
const packedOf = ([r, g, b]) => (r | (g << 8) | (b << 16)) >>> 0;
const unpacked = colour => [colour & 255, (colour >> 8) & 255, (colour >> 16) & 255];
const written = ([r, g, b]) => `rgb(${r},${g},${b})`;
const bright = ([r, g, b]) => 0.3 * r + 0.59 * g + 0.11 * b;

// A colour that stays apart from the background.
function against(colour, back) {
  const dark = bright(back) < 110;
  if (dark && bright(colour) < 75) return mixed(colour, [255, 255, 255], 0.42);
  if (!dark && bright(colour) > 215) return mixed(colour, [0, 0, 0], 0.3);
  return colour;
}

// The colours of a plane in a theme: {rgb, full, dim} a kind of point, full and dim packed as pixels are. The last of
// labels and values is for what is unknown. `back` is the background, packed; `nets` has a colour a net, written.
function paletteOf({colouring, nets}, root) {
  const back = rgbOf(getComputedStyle(root).backgroundColor), {kind} = colouring;
  const colours = kind === "label" ? [...colouring.labels.map(label => label.colour), colouring.unknown]
    : kind === "value" ? [...Array.from({length: RAMP}, (_, i) => mapped(i / (RAMP - 1), 0, 1)), "#9a9a9a"]
    : nets.map(net => netColour(net, root));
  const palette = colours.map(text => {
    const rgb = against(rgbOf(text), back);
    return {rgb, full: packedOf(rgb), dim: packedOf(mixed(rgb, back, 0.8))};
  });
  palette.back = packedOf(back);
  palette.nets = nets.map(net => written(against(rgbOf(netColour(net, root)), back)));
  return palette;
}

// Write the index in the palette of every point of a view at a frame; made anew only when another frame is nearest.
function setKinds(view, plane, frame, next, share) {
  const about = plane.colouring;
  const key = about.fixed ? plane.tintOf(frame) : about.kind === "value" ? `${frame.step} ${share.toFixed(2)}` : frame;
  if (view.kindsOf === key && view.kinds.length === plane.points) return;
  view.kindsOf = key;
  if (view.kinds.length !== plane.points) view.kinds = new Int16Array(plane.points);
  const {kinds} = view, tint = plane.tintOf(frame), later = plane.tintOf(next), scale = (RAMP - 1) / (about.high - about.low || 1);
  const ways = {
    label: p => tint[p] >= 0 ? tint[p] : about.labels.length,
    value: p => {
      const value = later && share > 0 && later[p] === later[p] ? tint[p] + share * (later[p] - tint[p]) : tint[p];
      return value === value ? Math.min(Math.max(Math.round((value - about.low) * scale), 0), RAMP - 1) : RAMP;
    },
  };
  const kindOf = ways[about.kind] ?? (p => Math.floor(p / plane.samples));
  for (let p = 0; p < kinds.length; p++) kinds[p] = kindOf(p);
}
