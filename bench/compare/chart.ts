/** The results as one SVG: a small bar chart for each case, drawn by Apache ECharts without a browser. */
import { init } from "echarts";
import type { EngineId } from "./engines.ts";
import type { Results } from "./results.ts";
import { figure } from "./results.ts";
import { short } from "./targets.ts";

const COLUMNS = 3;
const CELL_WIDTH = 460;
const BAR_HEIGHT = 19;
const TITLE_HEIGHT = 44;
const GAP = 16;
const LABEL_WIDTH = 96;

const COLOURS: Record<"ours" | "peer" | "kernel", string> = {
  ours: "#1f6feb",
  peer: "#9aa4b2",
  kernel: "#d9a441",
};

function colourOf(engine: EngineId): string {
  if (engine === "loopback") return COLOURS.kernel;
  return engine.includes("sluice") ? COLOURS.ours : COLOURS.peer;
}

/** Returns the SVG's text. Cases without a figure are left out. */
export function drawChart(results: Results): string {
  const cases = results.cases.filter((c) => c.engines.some(({ runs }) => runs.length > 0));
  const most = Math.max(1, ...cases.map((c) => c.engines.length));
  const cellHeight = TITLE_HEIGHT + most * BAR_HEIGHT + GAP;
  const rows = Math.ceil(cases.length / COLUMNS);
  const width = COLUMNS * CELL_WIDTH;
  const height = Math.max(1, rows) * cellHeight + GAP;
  const chart = init(null, null, { renderer: "svg", ssr: true, width, height });
  const at = (index: number) => ({
    left: (index % COLUMNS) * CELL_WIDTH,
    top: Math.floor(index / COLUMNS) * cellHeight,
  });
  chart.setOption({
    animation: false,
    backgroundColor: "#ffffff",
    title: cases.map((c, i) => ({
      text: c.title,
      subtext: `${c.unit}, ${c.better} is better`,
      left: at(i).left + 8,
      top: at(i).top + 4,
      itemGap: 3,
      textStyle: { fontSize: 13 },
      subtextStyle: { fontSize: 11 },
    })),
    grid: cases.map((c, i) => ({
      left: at(i).left + LABEL_WIDTH,
      top: at(i).top + TITLE_HEIGHT,
      width: CELL_WIDTH - LABEL_WIDTH - 70,
      height: c.engines.length * BAR_HEIGHT,
    })),
    xAxis: cases.map((_, i) => ({ type: "value", gridIndex: i, show: false, min: 0 })),
    yAxis: cases.map((c, i) => ({
      type: "category",
      gridIndex: i,
      inverse: true,
      data: c.engines.map(({ engine }) => engine),
      axisTick: { show: false },
      axisLine: { lineStyle: { color: "#9aa4b2" } },
      axisLabel: { color: "#1c2128", fontSize: 11 },
    })),
    series: cases.map((c, i) => ({
      type: "bar",
      xAxisIndex: i,
      yAxisIndex: i,
      barCategoryGap: "25%",
      data: c.engines.map(({ engine, runs }) => ({
        value: runs.length > 0 ? figure(results, c.id, engine) : 0,
        itemStyle: { color: colourOf(engine) },
        label: {
          show: true,
          position: "right",
          fontSize: 11,
          formatter: runs.length > 0 ? short(figure(results, c.id, engine)) : "failed",
        },
      })),
    })),
  });
  const svg = chart.renderToSVGString();
  chart.dispose();
  return svg;
}
