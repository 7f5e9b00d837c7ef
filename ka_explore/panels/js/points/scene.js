// What the pictures of all branches show. Every part of the panel reads it; who changes it tells the `Drawing`.

class Scene {
  constructor(root, film) {
    this.root = root;
    this.plane = new Plane(film);
    this.motion = new Motion(this.plane);
    this.zoom = new Zoom();
    this.palette = [];  // see paletteOf
    this.views = [];  // a View a branch
    this.lines = "pointed";  // "off", "pointed", or the share of the images whose points are joined
    this.hiddenNets = new Set();  // names
    this.hiddenLabels = new Set();  // indices in the palette
    this.selection = new Int32Array(0);
    this.chosen = new Uint8Array(0);  // a sample: whether it is selected
    this.hovered = null;  // the sample that is pointed at, in whatever panel
    this.pointer = null;  // {view, x, y} while the pointer is over a picture
    this.lasso = null;  // {view, path} while one is drawn
    this.tool = "lasso";  // what dragging does: "lasso" or "pan"
    this.spaceDown = false;  // while space is held, dragging pans
    this.full = null;  // the element on the page that holds the panel in full size
  }

  // Mark what is selected; to be called when there are other samples as well.
  mark(selection = this.selection) {
    this.selection = selection;
    this.chosen = new Uint8Array(this.plane.samples);
    for (const sample of this.selection) if (sample < this.plane.samples) this.chosen[sample] = 1;
  }

  // Whether a net is shown.
  shows(net) { return !this.hiddenNets.has(this.plane.nets[net].name); }

  // Where somebody else may look what is on the screen: in pixels of a branch's picture, net after net.
  inspect(index) {
    const view = this.views[index], {scale, ox, oy} = view.lens;
    return {
      step: this.motion.step, zoom: this.zoom.factor, hovered: this.hovered, selection: Array.from(this.selection),
      gliding: Boolean(this.motion.glide), samples: this.plane.samples, plane: Array.from(view.now),
      pixels: Array.from(view.now, (value, i) => (i % 2 ? oy - value * scale : value * scale + ox)),
    };
  }
}
