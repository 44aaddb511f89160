//! Draws a line chart as SVG: two axes, linear or logarithmic, lines with a legend, shaded spans, and bars that
//! rise from the bottom on a scale of their own. Pure.
//!
//! Small enough to own: the charts are few, and a plotting crate with its fonts would be most of this program.

use std::fmt::Write;

pub(crate) const WIDTH: f64 = 860.0;
pub(crate) const HEIGHT: f64 = 440.0;
const LEFT: f64 = 76.0;
const RIGHT: f64 = 200.0;
const TOP: f64 = 46.0;
const BOTTOM: f64 = 56.0;
/// A line of so few points shows each.
const MARKED_POINTS: usize = 12;
const BAR: &str = "#c00000";
/// Of the frame, for the highest bar.
const BAR_SHARE: f64 = 0.2;
/// Told apart by most people with a colour vision deficiency too (Okabe and Ito).
const COLOURS: [&str; 8] =
    ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#8a8a00"];

pub(crate) struct Chart {
    pub(crate) title: String,
    pub(crate) x: Axis,
    pub(crate) y: Axis,
    pub(crate) lines: Vec<Line>,
    /// Spans of the x axis in grey, with a word each.
    pub(crate) spans: Vec<(f64, f64, String)>,
    pub(crate) bars: Option<Bars>,
}

/// Counts along the x axis, beside what the lines show.
pub(crate) struct Bars {
    pub(crate) name: String,
    /// Of the x axis.
    pub(crate) width: f64,
    /// The middle of each bar, and its count.
    pub(crate) counts: Vec<(f64, f64)>,
}

pub(crate) struct Axis {
    pub(crate) label: String,
    pub(crate) scale: Scale,
    /// Where to put ticks and what to write there; empty: chosen by the range.
    pub(crate) ticks: Vec<(f64, String)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scale {
    /// From zero.
    Linear,
    Log,
}

pub(crate) struct Line {
    pub(crate) name: String,
    pub(crate) points: Vec<(f64, f64)>,
    pub(crate) dashed: bool,
}

pub(crate) fn draw(chart: &Chart) -> String {
    let points = || chart.lines.iter().flat_map(|line| &line.points);
    let x = Placed::new(&chart.x, points().map(|point| point.0), LEFT, WIDTH - RIGHT);
    let y = Placed::new(&chart.y, points().map(|point| point.1), HEIGHT - BOTTOM, TOP);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" font-family=\"sans-serif\" \
         font-size=\"12\" fill=\"#222\">\n<rect width=\"{WIDTH}\" height=\"{HEIGHT}\" fill=\"#fff\"/>\n"
    );
    text(
        &mut svg,
        (LEFT, 24.0),
        "start",
        &format!("<tspan font-size=\"15\">{}</tspan>", escaped(&chart.title)),
    );
    for (from, to, word) in &chart.spans {
        let (from, to) = (x.at(*from), x.at(*to));
        put(
            &mut svg,
            format_args!(
                "<rect x=\"{from:.1}\" y=\"{TOP}\" width=\"{:.1}\" height=\"{:.1}\" fill=\"#eee\"/>",
                to - from,
                HEIGHT - BOTTOM - TOP
            ),
        );
        text(&mut svg, ((from + to) / 2.0, TOP + 14.0), "middle", &escaped(word));
    }
    axes(&mut svg, chart, &x, &y);
    if let Some(bars) = &chart.bars {
        draw_bars(&mut svg, bars, chart.lines.len(), &x);
    }
    for (index, line) in chart.lines.iter().enumerate() {
        draw_line(&mut svg, line, index, &x, &y);
    }
    svg.push_str("</svg>\n");
    svg
}

fn axes(svg: &mut String, chart: &Chart, x: &Placed, y: &Placed) {
    let (right, bottom) = (WIDTH - RIGHT, HEIGHT - BOTTOM);
    for (value, label) in &y.ticks {
        let at = y.at(*value);
        put(svg, format_args!("<path d=\"M{LEFT} {at:.1}H{right}\" stroke=\"#ddd\"/>"));
        text(svg, (LEFT - 8.0, at + 4.0), "end", &escaped(label));
    }
    for (value, label) in &x.ticks {
        let at = x.at(*value);
        put(svg, format_args!("<path d=\"M{at:.1} {bottom}v5\" stroke=\"#222\"/>"));
        text(svg, (at, bottom + 20.0), "middle", &escaped(label));
    }
    put(svg, format_args!("<path d=\"M{LEFT} {TOP}V{bottom}H{right}\" fill=\"none\" stroke=\"#222\"/>"));
    text(svg, ((LEFT + right) / 2.0, HEIGHT - 14.0), "middle", &escaped(&chart.x.label));
    text(svg, (LEFT, TOP - 8.0), "end", &escaped(&chart.y.label));
}

fn draw_line(svg: &mut String, line: &Line, index: usize, x: &Placed, y: &Placed) {
    let colour = COLOURS[index % COLOURS.len()];
    let dashes = if line.dashed { " stroke-dasharray=\"5 4\"" } else { "" };
    let points: Vec<String> =
        line.points.iter().map(|point| format!("{:.1},{:.1}", x.at(point.0), y.at(point.1))).collect();
    put(
        svg,
        format_args!(
            "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"1.8\"{dashes}/>",
            points.join(" ")
        ),
    );
    for point in line.points.iter().filter(|_| line.points.len() <= MARKED_POINTS && !line.dashed) {
        let (x, y) = (x.at(point.0), y.at(point.1));
        put(svg, format_args!("<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3\" fill=\"{colour}\"/>"));
    }
    let (left, at) = legend_place(index);
    put(svg, format_args!("<path d=\"M{left} {at}h22\" stroke=\"{colour}\" stroke-width=\"2.5\"{dashes}/>"));
    text(svg, (left + 30.0, at + 4.0), "start", &escaped(&line.name));
}

fn draw_bars(svg: &mut String, bars: &Bars, index: usize, x: &Placed) {
    let most = bars.counts.iter().map(|bar| bar.1).fold(0.0, f64::max);
    let bottom = HEIGHT - BOTTOM;
    for (middle, count) in bars.counts.iter().filter(|bar| bar.1 > 0.0) {
        let (from, to) = (x.at(middle - bars.width / 2.0), x.at(middle + bars.width / 2.0));
        let top = bottom - count / most * BAR_SHARE * (bottom - TOP);
        put(
            svg,
            format_args!(
                "<path d=\"M{from:.1} {bottom}V{top:.1}H{to:.1}V{bottom}Z\" fill=\"{BAR}\" opacity=\".55\"/>"
            ),
        );
    }
    let (left, at) = legend_place(index);
    put(
        svg,
        format_args!("<path d=\"M{left} {at}h22\" stroke=\"{BAR}\" stroke-width=\"8\" opacity=\".55\"/>"),
    );
    text(svg, (left + 30.0, at + 4.0), "start", &escaped(&bars.name));
}

fn legend_place(index: usize) -> (f64, f64) {
    (WIDTH - RIGHT + 16.0, TOP + 8.0 + 20.0 * index as f64)
}

fn text(svg: &mut String, at: (f64, f64), anchor: &str, content: &str) {
    put(
        svg,
        format_args!("<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"{anchor}\">{content}</text>", at.0, at.1),
    );
}

fn put(svg: &mut String, line: std::fmt::Arguments<'_>) {
    writeln!(svg, "{line}").expect("writing to a String cannot fail");
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}

/// An axis with its range and its place on the drawing.
struct Placed {
    scale: Scale,
    low: f64,
    high: f64,
    start: f64,
    end: f64,
    ticks: Vec<(f64, String)>,
}

impl Placed {
    fn new(axis: &Axis, values: impl Iterator<Item = f64>, start: f64, end: f64) -> Self {
        let given = axis.ticks.iter().map(|tick| tick.0);
        let (low, high) = range(axis.scale, values.chain(given));
        let ticks = if axis.ticks.is_empty() { ticks(axis.scale, low, high) } else { axis.ticks.clone() };
        Self { scale: axis.scale, low, high, start, end, ticks }
    }

    fn at(&self, value: f64) -> f64 {
        let share = match self.scale {
            Scale::Linear => (value - self.low) / (self.high - self.low),
            Scale::Log => (value.max(self.low) / self.low).ln() / (self.high / self.low).ln(),
        };
        self.start + share * (self.end - self.start)
    }
}

fn range(scale: Scale, values: impl Iterator<Item = f64>) -> (f64, f64) {
    let usable = values.filter(|value| value.is_finite() && (scale == Scale::Linear || *value > 0.0));
    let (low, high) = usable
        .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| (low.min(value), high.max(value)));
    match scale {
        Scale::Linear => (0.0, if high > 0.0 { high * 1.05 } else { 1.0 }),
        // Room above the highest point, for the words of spans.
        Scale::Log if low < high => (low, high * (high / low).powf(0.08)),
        Scale::Log if low.is_finite() => (low / 2.0, low * 2.0),
        Scale::Log => (1.0, 10.0),
    }
}

/// Round numbers: 1, 2 or 5 times a power of ten; about six of them on a linear axis.
fn ticks(scale: Scale, low: f64, high: f64) -> Vec<(f64, String)> {
    let values: Vec<f64> = match scale {
        Scale::Linear => {
            let rough = (high - low) / 6.0;
            let power = 10f64.powf(rough.log10().floor());
            let step =
                [1.0, 2.0, 5.0, 10.0].map(|factor| factor * power).into_iter().find(|step| *step >= rough);
            let step = step.unwrap_or(rough);
            (0..).map(|index| f64::from(index) * step).take_while(|value| *value <= high).collect()
        }
        Scale::Log => (-9..12)
            .flat_map(|power| [1.0, 2.0, 5.0].map(|factor| factor * 10f64.powi(power)))
            .filter(|value| (low..=high).contains(value))
            .collect(),
    };
    values.into_iter().map(|value| (value, short(value))).collect()
}

fn short(value: f64) -> String {
    match value {
        value if value >= 1e6 => format!("{}M", value / 1e6),
        value if value >= 1e4 => format!("{}k", value / 1e3),
        value => format!("{}", (value * 1e6).round() / 1e6),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn axis(scale: Scale) -> Axis {
        Axis { label: "a < b".into(), scale, ticks: Vec::new() }
    }

    #[test]
    fn a_chart_holds_its_lines_within_its_frame() {
        let lines =
            vec![Line { name: "bare".into(), points: vec![(1.0, 90.0), (10.0, 900.0)], dashed: false }];
        let chart = Chart {
            title: "t".into(),
            x: axis(Scale::Linear),
            y: axis(Scale::Log),
            lines,
            spans: vec![(2.0, 5.0, "reloads".into())],
            bars: Some(Bars { name: "failed".into(), width: 0.5, counts: vec![(3.0, 7.0), (4.0, 0.0)] }),
        };
        let svg = draw(&chart);
        let line = svg.split("<polyline points=\"").nth(1).unwrap().split('"').next().unwrap();
        for point in line.split(' ') {
            let (x, y) = point.split_once(',').unwrap();
            let (x, y): (f64, f64) = (x.parse().unwrap(), y.parse().unwrap());
            assert!((LEFT..=WIDTH - RIGHT).contains(&x) && (TOP..=HEIGHT - BOTTOM).contains(&y), "{point}");
        }
        assert!(
            svg.contains("a &lt; b")
                && svg.contains("reloads")
                && svg.contains("failed")
                && svg.ends_with("</svg>\n")
        );
    }

    #[test]
    fn ticks_are_round_numbers_within_the_range() {
        let labels =
            |scale, low, high| ticks(scale, low, high).into_iter().map(|tick| tick.1).collect::<Vec<_>>();
        assert_eq!(labels(Scale::Linear, 0.0, 11.0), ["0", "2", "4", "6", "8", "10"]);
        assert_eq!(labels(Scale::Log, 90.0, 2_500.0), ["100", "200", "500", "1000", "2000"]);
        assert_eq!(labels(Scale::Log, 20_000.0, 60_000.0), ["20k", "50k"]);
    }

    #[test]
    fn an_empty_chart_is_still_a_chart() {
        let chart = Chart {
            title: String::new(),
            x: axis(Scale::Log),
            y: axis(Scale::Linear),
            lines: Vec::new(),
            spans: Vec::new(),
            bars: None,
        };
        assert!(!draw(&chart).contains("NaN"));
    }
}
