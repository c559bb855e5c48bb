// Tables: sort, filter, copy. Examples: search, compare. No text becomes markup.
const $ = (at, query) => [...at.querySelectorAll(query)];
const make = (tag, more, ...inner) => {
  const made = Object.assign(document.createElement(tag), more);
  made.append(...inner);
  return made;
};
const has = (text, part) => text.toLowerCase().includes(part.toLowerCase());
// By words or numbers, NaN last; equals keep their order.
const by = (items, value, sign) => items.map(item => [value(item), item]).sort(([a], [b]) => a.at
  ? sign * a.localeCompare(b, 'en', {numeric: true}) : isNaN(a) - isNaN(b) || sign * (a - b) || 0).map(x => x[1]);

const read = cell => {
  const [marks, below] = ['sup', '.below'].map(part => cell.querySelector(part)?.textContent ?? '');
  const text = cell.textContent.slice(0, -(marks + below).length || 1e9).trim();
  return {text, marks, below, best: cell.matches('.best')};
};
const size = text => {
  const found = text.replace('−', '-').replace(/,/g, '').match(/^(-?[\d.]+(?:e-?\d+)?)( [KMB])?/) ?? [];
  return found[1] * ({' K': 1e3, ' M': 1e6, ' B': 1e9}[found[2]] ?? 1);
};
const md = text => text.replace(/[\\`*~|<>[\]$&]/g, '\\$&').replace(/\s+/g, ' ');
const TEX = {'\\': '\\textbackslash{}', '~': '\\textasciitilde{}', '^': '\\textasciicircum{}', '−': '$-$',
  '<': '$<$', '>': '$>$', '|': '$|$'};
const tex = text => text.replace(/[\\~^−<>|&%$#_{}]/g, sign => TEX[sign] ?? '\\' + sign);
const csv = text => {
  text = text.replace(/^−/, '-').replace(/^-?\d[\d,.]*$/, n => n.replace(/,/g, ''))
    .replace(/^([=+@\t\r]|-(?!\d))/, "'$1"); // no formula
  return /[",\r\n]/.test(text) ? `"${text.replace(/"/g, '""')}"` : text;
};
const title = ({text, below}) => below ? `${text} (${below})` : text;
const written = (form, heads, rows, right, feet) => {
  if (form === 'CSV') { // a cell's second line has a column of its own
    const two = heads.map((_, at) => rows.some(row => row[at].below));
    return [heads.map(head => ({text: title(head), below: title(head) + ', below'})), ...rows]
      .map(row => row.flatMap(({text, below}, at) => two[at] ? [text, below] : text).map(csv).join());
  }
  const [esc, start, between, end, bold, raised] = form === 'LaTeX'
    ? [tex, '', ' & ', ' \\\\', text => `\\textbf{${text}}`, text => `\\textsuperscript{${text}}`]
    : [md, '| ', ' | ', ' |', text => `**${text}**`, text => ` <sup>${text}</sup>`];
  const line = cells => start + cells.join(between).replace(/^\[/, '{[}') + end;
  const cell = ({text, marks, below, best}) =>
    (best ? bold : String)(esc(text)) + (marks && raised(marks)) + (below && ' ' + esc(below));
  const first = line(heads.map(title).map(esc)), rest = rows.map(row => line(row.map(cell)));
  return start ? [first, line(right.map(is => is ? '---:' : ':---')), ...rest, '', feet.map(md).join('<br>')]
    : [`\\begin{tabular}{${right.map(is => is ? 'r' : 'l').join('')}}`, '\\toprule', first, '\\midrule', ...rest,
      '\\bottomrule', '\\end{tabular}', ...feet.map(foot => '% ' + foot)];
};
for (const table of $(document, 'main table:has(td)')) {
  const body = table.tBodies[0], rows = [...body.rows], heads = $(table, 'th'), titles = heads.map(read);
  const box = table.parentNode, right = heads.map(head => head.matches('.number'));
  box.before($(document, '#tools')[0].content.cloneNode(true));
  const tools = box.previousElementSibling, [said] = $(tools, 'span'), [search] = $(tools, 'input');
  const shown = () => [...body.rows].filter(row => !row.hidden);
  search.oninput = () => {
    for (const row of rows) row.hidden = !has(row.textContent, search.value);
    said.textContent = `${shown().length} of ${rows.length} rows`;
  };
  for (const button of $(tools, 'button')) button.onclick = () => {
    const feet = $(box.parentNode, '.feet span').map(foot => foot.textContent);
    const rows = shown().map(row => $(row, 'td').map(read));
    const area = make('textarea', {value: written(button.textContent, titles, rows, right, feet).join('\n')});
    tools.after(area);
    area.select();
    const done = document.execCommand('copy');
    said.textContent = done ? `copied ${shown().length} rows` : 'press Ctrl+C';
    if (done) area.remove(), button.focus();
  };
  heads.forEach((head, at) => head.append(make('button', {onclick() {
    const ways = ['ascending', 'descending', null], way = ways[(ways.indexOf(head.ariaSort) + 1) % 3];
    for (const each of heads) each.ariaSort = each === head ? way : null;
    const key = row => (right[at] ? size : String)(read(row.cells[at]).text);
    body.append(...way ? by(rows, key, way === ways[0] ? 1 : -1) : rows);
  }}, ...head.childNodes)));
}

const cutter = new Intl.Segmenter('en', {granularity: 'word'});
const words = text => Array.from(cutter.segment(text), each => each.segment);
// Marks words outside the longest common subsequence.
const marked = (text, other) => {
  if (other == null) return [text];
  const a = words(text), b = words(other), made = [];
  if (a.length * b.length > 2e6) return [make('i', {}, 'Too long to mark. '), text];
  const long = [...a, 0].map(() => new Uint16Array(b.length + 1));
  for (let i = a.length; i--;) for (let j = b.length; j--;)
    long[i][j] = a[i] === b[j] ? long[i + 1][j + 1] + 1 : Math.max(long[i + 1][j], long[i][j + 1]);
  for (let i = 0, j = 0; i < a.length;) {
    if (a[i] === b[j]) made.push(a[i++]), j++;
    else if (j < b.length && long[i][j + 1] >= long[i + 1][j]) j++;
    else made.push(make('mark', {}, a[i++]));
  }
  return made;
};
for (const block of $(document, 'script[type]')) {
  const {anchor, names, trained, order, sign, decimals, examples} = JSON.parse(block.textContent);
  const home = block.previousElementSibling, named = ({id, at}) => `${anchor}-example-${at ?? id}`;
  home.replaceChildren(block.nextElementSibling.content);
  const controls = $(home, 'select, input'), [said] = $(home, 'span'), [more] = $(home, 'button'), [list] = $(home, '.list');
  const draw = (size, pin) => {
    const [search, show, who, to] = controls.map(each => each.value);
    const of = who ? [...new Set([to, who])].filter(String) : trained;
    const scores = one => of.map(at => one.scores[at]).filter(x => x != null);
    const mean = one => scores(one).reduce((a, b) => a + b, 0) / scores(one).length;
    const spread = one => scores(one).reduce((a, b) => a + (b - mean(one)) ** 2, 0);
    const differs = one => !of[1] || new Set(of.map(at => one.texts[at])).size > 1;
    const found = {all: () => examples, worst: () => by(examples, mean, sign), best: () => by(examples, mean, -sign),
      differing: () => (who ? by(examples, spread, -1) : order.map(at => examples[at])).filter(differs)}[show]()
      .filter(one => has([one.id, one.prompt, ...one.more, ...one.texts].join('\n'), search));
    const row = (name, text) => [make('dt', {}, name), make('dd', {}, text)];
    const answer = (at, {texts, scores}) => make('section', {}, make('h5', {}, names[at] + ' ',
      make('span', {className: 'score'}, scores[at]?.toFixed(decimals).replace('-', '−') ?? '')),
      texts[at] ? make('p', {}, ...marked(texts[at], texts[at === to ? who : to]))
        : make('i', {}, texts[at] == null ? 'no text' : 'empty'));
    const article = one => make('article', {id: named(one)},
      make('h4', {}, make('a', {className: 'anchor', href: '#' + named(one), ariaLabel: 'link'}), one.id),
      make('dl', {}, ...row('prompt', one.prompt), ...one.more.flatMap(text => row('reference', text))),
      make('div', {className: 'answers'}, ...(who ? of : Object.keys(names)).map(at => answer(at, one))));
    const shown = found.filter(one => one !== pin).slice(0, size);
    list.replaceChildren(...(pin ? [pin, ...shown] : shown).map(article));
    more.hidden = found.length <= size;
    more.onclick = () => draw(size + 8, pin);
    said.textContent = `${found.length} of ${examples.length} examples, ${controls[1].selectedOptions[0].text}`;
  };
  const go = () => {
    const pin = examples.find(one => '#' + named(one) === location.hash);
    draw(8, pin);
    if (pin) list.firstChild.scrollIntoView();
  };
  for (const each of controls) each.oninput = () => draw(8);
  addEventListener('hashchange', go);
  go();
}
