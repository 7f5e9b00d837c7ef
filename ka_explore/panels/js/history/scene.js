// What the picture shows: terms and branches, the steps zoomed to, the step that is looked at and the one pointed at.

const DASHES = [[], [7, 4], [2, 3], [8, 3, 2, 3]];

class Scene {
  constructor(film, root) {
    this.film = film;
    this.root = root;
    this.hidden = new Set();  // names of terms
    this.emphasised = null;  // the term whose legend is pointed at
    this.zoom = null;  // [first, last] step, or null for all
    this.time = null;  // the step that all views look at
    this.pointed = null;  // the step under the pointer
    this.dragged = null;  // {zooming, from, to} in pixels while a button is down
    this.box = null;  // where the picture lies and its axes, see axesOf
  }

  get branches() { return this.film.branches; }
  get several() { return this.branches.length > 1; }
  get terms() { return this.film.about.terms ?? []; }
  get shownTerms() { return this.terms.filter(term => !this.hidden.has(term.name)); }

  // The last step of all.
  get last() { return Math.max(0, ...this.branches.map(branch => branch.length ? branch.columns[0][branch.length - 1] : 0)); }

  // The step that is looked at; rows come a little later than the player's step.
  get step() { return this.time ?? this.last; }

  // A colour as it is seen in this theme: the student's, which is dark, is light on dark.
  seen(colour) { return colour === "#222222" ? styleOf(this.root, "--ka-front") || colour : colour; }

  // One term of several branches: the branches' colours. Else a colour a term and a dash a branch.
  colourOf(term, branch) { return this.seen(this.several && this.shownTerms.length === 1 ? branch.colour : term.colour); }
  dashOf(branch) { return this.several ? DASHES[branch.index % DASHES.length] : []; }
}
