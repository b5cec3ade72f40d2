//! Charts as SVG, coloured by the page's style sheet, so that they follow its light and dark modes.

use std::fmt::Write as _;

const WIDTH: f64 = 640.0;
const HEIGHT: f64 = 300.0;
const LEFT: f64 = 78.0;
const RIGHT: f64 = 26.0;
const TOP: f64 = 14.0;
const BOTTOM: f64 = 44.0;
/// Colours that the style sheet has; after them come dashes.
const COLOURS: usize = 6;
const TICKS: f64 = 6.0;

/// One axis. A logarithmic one begins above zero.
#[derive(Clone)]
pub(crate) struct Axis {
    pub(crate) label: String,
    pub(crate) min: f64,
    pub(crate) max: f64,
    pub(crate) is_log: bool,
    /// These, and no others, if there are any.
    pub(crate) ticks: &'static [(f64, &'static str)],
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mark {
    Line,
    /// A line that stays at its value until the next.
    Steps,
    Dots,
    Rings,
}

pub(crate) struct Series {
    pub(crate) name: String,
    pub(crate) mark: Mark,
    /// Which of the colours.
    pub(crate) colour: usize,
    pub(crate) points: Vec<(f64, f64)>,
}

/// A line across, from bottom to top.
pub(crate) struct Rule {
    pub(crate) at: f64,
    pub(crate) name: String,
    /// That of the series which it belongs to, if it does to one.
    pub(crate) colour: Option<usize>,
}

pub(crate) struct Chart {
    pub(crate) title: String,
    pub(crate) note: String,
    pub(crate) x: Axis,
    pub(crate) y: Axis,
    pub(crate) series: Vec<Series>,
    pub(crate) rules: Vec<Rule>,
    /// A line where both are equal, and what it is.
    pub(crate) diagonal: Option<String>,
}

impl Axis {
    pub(crate) fn linear(label: &str, max: f64) -> Self {
        Self {
            label: label.to_owned(),
            min: 0.0,
            max: if max > 0.0 { max * 1.04 } else { 1.0 },
            is_log: false,
            ticks: &[],
        }
    }

    /// Whole decades around these values.
    pub(crate) fn log(label: &str, values: impl Iterator<Item = f64>, least: f64) -> Self {
        let (mut min, mut max) = (f64::INFINITY, least);
        for value in values {
            min = min.min(value.max(least));
            max = max.max(value);
        }
        let min = 10_f64.powf(min.min(max).log10().floor());
        Self {
            label: label.to_owned(),
            min,
            max: 10_f64.powf(max.log10().ceil()).max(min * 10.0),
            is_log: true,
            ticks: &[],
        }
    }

    /// Where a value stands, 0 at the beginning and 1 at the end.
    fn place(&self, value: f64) -> f64 {
        let value = value.clamp(self.min, self.max);
        match self.is_log {
            true => (value / self.min).ln() / (self.max / self.min).ln(),
            false => (value - self.min) / (self.max - self.min),
        }
    }

    /// Where they stand, and what they say.
    fn labels(&self) -> Vec<(f64, String)> {
        match self.ticks {
            [] => self
                .ticks()
                .into_iter()
                .map(|tick| (tick, number(tick)))
                .collect(),
            fixed => fixed
                .iter()
                .map(|(tick, text)| (*tick, (*text).to_owned()))
                .collect(),
        }
    }

    fn ticks(&self) -> Vec<f64> {
        let mut ticks = Vec::new();
        if self.is_log {
            let decades = (self.max / self.min).log10();
            let within: &[f64] = if decades <= 2.5 {
                &[1.0, 2.0, 5.0]
            } else {
                &[1.0]
            };
            let mut decade = self.min;
            while decade <= self.max * 1.001 {
                let some = within.iter().map(|times| decade * times);
                ticks.extend(some.filter(|tick| *tick <= self.max * 1.001));
                decade *= 10.0;
            }
            return ticks;
        }
        let rough = (self.max - self.min) / TICKS;
        let decade = 10_f64.powf(rough.log10().floor());
        let step = [1.0, 2.0, 5.0, 10.0]
            .map(|times| times * decade)
            .into_iter()
            .find(|step| *step >= rough);
        let step = step.unwrap_or(decade * 10.0);
        let mut tick = (self.min / step).ceil() * step;
        while tick <= self.max {
            ticks.push(tick);
            tick += step;
        }
        ticks
    }
}

fn x_of(axis: &Axis, value: f64) -> f64 {
    LEFT + axis.place(value) * (WIDTH - LEFT - RIGHT)
}

fn y_of(axis: &Axis, value: f64) -> f64 {
    HEIGHT - BOTTOM - axis.place(value) * (HEIGHT - TOP - BOTTOM)
}

impl Chart {
    /// The chart with its title and legend.
    pub(crate) fn html(&self) -> String {
        let mut legend = String::new();
        for series in &self.series {
            let class = colour(series.colour);
            let kind = match series.mark {
                Mark::Line | Mark::Steps => "stroke",
                Mark::Dots => "dot",
                Mark::Rings => "ring",
            };
            let name = escaped(&series.name);
            let _ = write!(
                legend,
                "<span class=\"key\"><i class=\"{kind} {class}\"></i>{name}</span>"
            );
        }
        for name in self
            .diagonal
            .iter()
            .chain(self.rules.first().map(|rule| &rule.name))
        {
            let _ = write!(
                legend,
                "<span class=\"key\"><i class=\"stroke rule\"></i>{}</span>",
                escaped(name)
            );
        }
        format!(
            "<figure><figcaption><strong>{}</strong><span class=\"note\">{}</span></figcaption>\
             <div class=\"legend\">{legend}</div>{}</figure>",
            escaped(&self.title),
            escaped(&self.note),
            self.svg()
        )
    }

    fn svg(&self) -> String {
        let mut svg = format!(
            "<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{}\">",
            escaped(&self.title)
        );
        self.grid(&mut svg);
        for rule in &self.rules {
            let x = x_of(&self.x, rule.at);
            let class = rule.colour.map(colour).unwrap_or_default();
            let _ = write!(
                svg,
                "<line class=\"rule {class}\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{TOP}\" y2=\"{:.1}\"><title>{}: {}</title></line>",
                HEIGHT - BOTTOM,
                escaped(&rule.name),
                number(rule.at)
            );
        }
        if self.diagonal.is_some() {
            let (from, to) = (self.x.min.max(self.y.min), self.x.max.min(self.y.max));
            let _ = write!(
                svg,
                "<line class=\"rule\" x1=\"{:.1}\" y1=\"{:.1}\" x2=\"{:.1}\" y2=\"{:.1}\"/>",
                x_of(&self.x, from),
                y_of(&self.y, from),
                x_of(&self.x, to),
                y_of(&self.y, to)
            );
        }
        for series in &self.series {
            self.draw(series, &mut svg);
        }
        svg.push_str("</svg>");
        svg
    }

    fn grid(&self, svg: &mut String) {
        let (left, right, bottom) = (LEFT, WIDTH - RIGHT, HEIGHT - BOTTOM);
        for (tick, text) in self.y.labels() {
            let y = y_of(&self.y, tick);
            let _ = write!(
                svg,
                "<line class=\"grid\" x1=\"{left}\" x2=\"{right}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/>\
                 <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
                left - 6.0,
                y + 4.0,
                escaped(&text)
            );
        }
        for (tick, text) in self.x.labels() {
            let x = x_of(&self.x, tick);
            let _ = write!(
                svg,
                "<line class=\"grid\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{TOP}\" y2=\"{bottom}\"/>\
                 <text x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>",
                bottom + 16.0,
                escaped(&text)
            );
        }
        let middle = f64::midpoint(TOP, bottom);
        let _ = write!(
            svg,
            "<line class=\"axis\" x1=\"{left}\" x2=\"{right}\" y1=\"{bottom}\" y2=\"{bottom}\"/>\
             <text class=\"label\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>\
             <text class=\"label\" x=\"14\" y=\"{middle:.1}\" text-anchor=\"middle\" transform=\"rotate(-90 14 {middle:.1})\">{}</text>",
            f64::midpoint(left, right),
            HEIGHT - 8.0,
            escaped(&self.x.label),
            escaped(&self.y.label)
        );
    }

    fn draw(&self, series: &Series, svg: &mut String) {
        let places = series
            .points
            .iter()
            .map(|(x, y)| (x_of(&self.x, *x), y_of(&self.y, *y)));
        let class = colour(series.colour);
        if matches!(series.mark, Mark::Dots | Mark::Rings) {
            let kind = if series.mark == Mark::Dots {
                "dot"
            } else {
                "ring"
            };
            for ((x, y), point) in places.zip(&series.points) {
                let name = escaped(&series.name);
                let _ = write!(
                    svg,
                    "<circle class=\"{kind} {class}\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3.5\"><title>{name}: {} at {}</title></circle>",
                    number(point.1),
                    number(point.0)
                );
            }
            return;
        }
        let mut path = String::new();
        let mut last: Option<f64> = None;
        for (x, y) in places {
            let _ = match last {
                None => write!(path, "M{x:.1} {y:.1}"),
                Some(before) if series.mark == Mark::Steps => {
                    write!(path, "L{x:.1} {before:.1}L{x:.1} {y:.1}")
                }
                Some(_) => write!(path, "L{x:.1} {y:.1}"),
            };
            last = Some(y);
        }
        let name = escaped(&series.name);
        let _ = write!(
            svg,
            "<path class=\"stroke {class}\" d=\"{path}\"><title>{name}</title></path>"
        );
    }
}

fn colour(number: usize) -> String {
    let dashed = if number >= COLOURS { " dashed" } else { "" };
    format!("c{}{dashed}", number % COLOURS)
}

/// A number as people read it.
pub(crate) fn number(value: f64) -> String {
    if !value.is_finite() {
        return "–".to_owned();
    }
    let size = value.abs();
    let digits = match size {
        _ if size == 0.0 || size >= 100.0 => 0,
        _ if size >= 10.0 => 1,
        _ if size >= 0.995 => 2,
        _ => 3,
    };
    let text = format!("{value:.digits$}");
    let text = match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.'),
        false => &text,
    };
    let (whole, rest) = text
        .split_once('.')
        .map_or((text, None), |(whole, rest)| (whole, Some(rest)));
    let (sign, whole) = whole
        .strip_prefix('-')
        .map_or(("", whole), |whole| ("−", whole));
    let mut grouped = String::from(sign);
    for (at, digit) in whole.chars().enumerate() {
        if at > 0 && (whole.len() - at) % 3 == 0 {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    if let Some(rest) = rest {
        grouped.push('.');
        grouped.push_str(rest);
    }
    grouped
}

/// Text as it stands in HTML.
pub(crate) fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            c => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped_and_have_as_many_digits_as_matter() {
        for (value, text) in [
            (0.0, "0"),
            (0.1234, "0.123"),
            (1.5, "1.5"),
            (12.34, "12.3"),
            (1_234_567.0, "1,234,567"),
            (-1_000.0, "−1,000"),
            (100.4, "100"),
            (f64::NAN, "–"),
        ] {
            assert_eq!(number(value), text);
        }
    }

    #[test]
    fn axes_begin_and_end_where_their_values_do() {
        let log = Axis::log("x", [0.0, 0.5, 42.0].into_iter(), 0.1);
        assert_eq!((log.min, log.max), (0.1, 100.0));
        assert!((log.place(log.min), log.place(log.max)) == (0.0, 1.0));
        assert!((log.place(10.0) - 2.0 / 3.0).abs() < 1e-9);
        assert_eq!(log.ticks().len(), 4);
        let linear = Axis::linear("y", 10.0);
        assert_eq!(linear.ticks(), [0.0, 2.0, 4.0, 6.0, 8.0, 10.0]);
        assert_eq!(Axis::linear("y", 0.0).place(2.0), 1.0);
    }

    #[test]
    fn a_chart_draws_all_that_it_has_and_escapes_names() {
        let series = |mark| Series {
            name: "a<b".to_owned(),
            mark,
            colour: 7,
            points: vec![(1.0, 0.0), (10.0, 1.0)],
        };
        let chart = Chart {
            title: "t & t".to_owned(),
            note: String::new(),
            x: Axis::log("ms", [1.0, 10.0].into_iter(), 0.1),
            y: Axis::linear("share", 1.0),
            series: vec![series(Mark::Line), series(Mark::Steps), series(Mark::Rings)],
            rules: vec![Rule {
                at: 5.0,
                name: "floor".to_owned(),
                colour: None,
            }],
            diagonal: None,
        };
        let html = chart.html();
        assert!(html.contains("t &amp; t") && html.contains("a&lt;b") && !html.contains("a<b"));
        assert_eq!(html.matches("<path").count(), 2);
        assert_eq!(html.matches("<circle").count(), 2);
        assert!(html.contains("c1 dashed") && html.contains("floor"));
        assert!(!html.contains("NaN") && !html.contains("inf"));
    }
}
