//! Pictures of what a storm was over time, as SVG.

use std::error::Error;
use std::ops::Range;

use plotters::coord::ranged1d::{AsRangedCoord, ValueFormatter};
use plotters::prelude::*;

/// Values over the seconds of a storm.
#[derive(Debug)]
pub(super) struct Chart {
    /// For the page: where it stands, and what it is called.
    pub(super) id: &'static str,
    pub(super) title: &'static str,
    /// What the values are.
    pub(super) unit: &'static str,
    /// Their scale is logarithmic: durations differ by powers of ten.
    pub(super) logarithmic: bool,
    pub(super) lines: Vec<Line>,
}

/// One line of a chart.
#[derive(Debug)]
pub(super) struct Line {
    pub(super) name: String,
    /// The line is broken where there is no value.
    pub(super) points: Vec<(f64, Option<f64>)>,
    /// A limit: the same at all times, and drawn in red.
    pub(super) limit: bool,
}

impl Line {
    pub(super) fn new(name: impl Into<String>, points: Vec<(f64, Option<f64>)>) -> Self {
        Self { name: name.into(), points, limit: false }
    }

    /// What lies between the breaks. One at least, so that a line without a value has its name, too.
    fn pieces(&self) -> Vec<Vec<(f64, f64)>> {
        let mut pieces = vec![Vec::new()];
        for (at, value) in &self.points {
            match (value, pieces.last_mut()) {
                (Some(value), Some(piece)) => piece.push((*at, *value)),
                (None, Some(piece)) if piece.is_empty() => {}
                _ => pieces.push(Vec::new()),
            }
        }
        pieces
    }
}

/// Why there is no picture.
pub(super) type ChartError = Box<dyn Error + Send + Sync>;

impl Chart {
    /// The picture, an `svg` element that needs nothing else.
    pub(super) fn svg(&self) -> Result<String, ChartError> {
        let mut svg = String::new();
        let root = SVGBackend::with_string(&mut svg, SIZE).into_drawing_area();
        root.fill(&WHITE).map_err(boxed)?;
        let values = self.values();
        if self.logarithmic {
            self.draw(&root, values.log_scale())?;
        } else {
            self.draw(&root, values)?;
        }
        root.present().map_err(boxed)?;
        drop(root);
        Ok(svg)
    }

    fn draw<Y>(&self, root: &Area<'_>, values: Y) -> Result<(), ChartError>
    where
        Y: AsRangedCoord<Value = f64>,
        Y::CoordDescType: ValueFormatter<f64>,
    {
        let mut builder = ChartBuilder::on(root);
        builder.margin(MARGIN).x_label_area_size(BELOW).y_label_area_size(BESIDE);
        let mut chart = builder.build_cartesian_2d(self.seconds(), values).map_err(boxed)?;
        let mut mesh = chart.configure_mesh();
        mesh.light_line_style(WHITE).bold_line_style(BLACK.mix(FAINT));
        mesh.x_desc("seconds").y_desc(self.unit).draw().map_err(boxed)?;
        for (number, line) in self.lines.iter().enumerate() {
            let style = style(number, line.limit);
            let key = move |(x, y)| PathElement::new([(x, y), (x + KEY, y)], style);
            for (number, piece) in line.pieces().into_iter().enumerate() {
                // A value between two breaks would not be seen as a line.
                let dot = if piece.len() == 1 { DOT } else { 0 };
                let drawn = LineSeries::new(piece, style).point_size(dot);
                let drawn = chart.draw_series(drawn).map_err(boxed)?;
                if number == 0 {
                    drawn.label(line.name.clone()).legend(key);
                }
            }
        }
        let mut labels = chart.configure_series_labels();
        labels.position(SeriesLabelPosition::UpperRight).background_style(WHITE.mix(CLEAR));
        labels.border_style(BLACK.mix(FAINT)).draw().map_err(boxed)
    }

    fn seconds(&self) -> Range<f64> {
        let last = self.points().map(|(at, _)| at).fold(SHORTEST, f64::max);
        0.0..last
    }

    /// With room above, where the names of the lines stand.
    fn values(&self) -> Range<f64> {
        let most = self.points().map(|(_, value)| value).fold(0.0, f64::max);
        if !self.logarithmic {
            return 0.0..most.max(1.0) * 1.3;
        }
        let least = self.points().map(|(_, value)| value).fold(f64::MAX, f64::min);
        let least = least.clamp(LEAST_LOGARITHM, 1.0);
        least..most.max(least * 10.0) * 4.0
    }

    fn points(&self) -> impl Iterator<Item = (f64, f64)> {
        let points = self.lines.iter().flat_map(|line| &line.points);
        points.filter_map(|(at, value)| Some((*at, (*value)?)))
    }
}

type Area<'a> = DrawingArea<SVGBackend<'a>, plotters::coord::Shift>;

fn style(number: usize, is_limit: bool) -> ShapeStyle {
    match (is_limit, COLOURS.get(number % COLOURS.len())) {
        (false, Some((red, green, blue))) => RGBColor(*red, *green, *blue).stroke_width(2),
        _ => RED.stroke_width(1),
    }
}

fn boxed(error: impl Error + Send + Sync + 'static) -> ChartError {
    Box::new(error)
}

const SIZE: (u32, u32) = (960, 300);
const MARGIN: u32 = 8;
const BELOW: u32 = 34;
const BESIDE: u32 = 64;
/// Of the line beside a name.
const KEY: i32 = 20;
const DOT: u32 = 2;
const FAINT: f64 = 0.15;
const CLEAR: f64 = 0.8;
/// In seconds: a storm of one function has a width, too.
const SHORTEST: f64 = 0.1;
/// In milliseconds.
const LEAST_LOGARITHM: f64 = 0.001;

/// Colours that the colour-blind tell apart (Okabe and Ito's, in the order of contrast to white); more
/// lines than colours begin anew.
const COLOURS: [(u8, u8, u8); 7] = [
    (0, 114, 178),
    (230, 159, 0),
    (0, 158, 115),
    (204, 121, 167),
    (213, 94, 0),
    (86, 180, 233),
    (0, 0, 0),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn chart(logarithmic: bool, points: Vec<(f64, f64)>) -> Chart {
        let points = points.into_iter().map(|(at, value)| (at, Some(value))).collect();
        let ends = vec![(0.0, Some(5.0)), (3.0, Some(5.0))];
        let limit = Line { limit: true, ..Line::new("limit", ends) };
        let lines = vec![Line::new("a < b & c", points), limit];
        Chart { id: "a", title: "A", unit: "ms", logarithmic, lines }
    }

    #[test]
    fn a_chart_has_a_line_for_each_of_its_lines_and_their_names() {
        for logarithmic in [false, true] {
            let svg = chart(logarithmic, vec![(1.0, 2.0), (2.0, 900.0)]).svg().unwrap();
            assert!(svg.starts_with("<svg") && svg.trim_end().ends_with("</svg>"), "{svg}");
            assert!(svg.contains("a &lt; b &amp; c") && svg.contains("limit"), "{svg}");
            assert!(svg.contains("#0072B2") && svg.contains("#FF0000"), "{svg}");
        }
    }

    #[test]
    fn a_line_is_broken_where_there_is_no_value() {
        let points =
            [Some(1.0), Some(2.0), None, None, Some(3.0), None, Some(4.0), Some(5.0), None];
        let points = (0..9).map(f64::from).zip(points).collect();
        let line = Line::new("broken", points);
        let pieces: Vec<_> = line.pieces().iter().map(Vec::len).collect();
        assert_eq!(pieces, [2, 1, 2, 0]);
        let svg = Chart { lines: vec![line], ..chart(false, Vec::new()) }.svg().unwrap();
        // Three pieces, and the key.
        assert_eq!(
            svg.matches("stroke=\"#0072B2\" stroke-width=\"2\" points=").count(),
            4,
            "{svg}"
        );
        assert_eq!(svg.matches("<circle").count(), 1, "{svg}");
    }

    #[test]
    fn nothing_and_one_point_can_be_drawn() {
        for points in [vec![], vec![(0.0, 0.0)], vec![(1.0, 5.0)]] {
            for logarithmic in [false, true] {
                assert!(chart(logarithmic, points.clone()).svg().is_ok());
            }
        }
        let empty = Chart { lines: Vec::new(), ..chart(false, Vec::new()) };
        assert!(empty.svg().is_ok());
    }
}
