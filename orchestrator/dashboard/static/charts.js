// Draws the two charts from the JSON in `data-options`; redraws when the data, the theme or the width changes.
// Tooltips are drawn on the canvas: HTML tooltips need inline styles, which the page's policy forbids.
"use strict";
(function () {
  const drawn = new Map(); // element -> {chart, options, theme}

  function colour(name) {
    return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  }

  function palette() {
    return {
      text: colour("--chart-text"),
      line: colour("--chart-line"),
      surface: colour("--chart-surface"),
      ink: colour("--chart-ink"),
      accent: colour("--chart-accent"),
      base: colour("--chart-base"),
      series: [1, 2, 3, 4, 5, 6].map((n) => colour(`--chart-series-${n}`)),
    };
  }

  function common(colours) {
    return {
      animationDuration: window.matchMedia("(prefers-reduced-motion: reduce)").matches ? 0 : 300,
      textStyle: { color: colours.text, fontFamily: getComputedStyle(document.body).fontFamily },
      tooltip: {
        trigger: "axis",
        renderMode: "richText",
        confine: true,
        backgroundColor: colours.surface,
        borderColor: colours.line,
        textStyle: { color: colours.ink, fontSize: 12 },
        axisPointer: { type: "shadow", shadowStyle: { opacity: 0.06 } },
      },
    };
  }

  function axes(colours, categories, yLabel) {
    return {
      xAxis: {
        type: "category",
        data: categories,
        axisTick: { show: false },
        axisLine: { lineStyle: { color: colours.line } },
        axisLabel: { color: colours.text, hideOverlap: true, interval: categories.length <= 8 ? 0 : "auto" },
      },
      yAxis: {
        type: "value",
        min: 0,
        axisLabel: { color: colours.text, formatter: yLabel },
        splitLine: { lineStyle: { color: colours.line } },
      },
    };
  }

  const percent = (share) => `${(share * 100).toFixed(1)} %`;

  // data: {categories, accuracy[], low[], high[]}, null where nothing is measured; index 0 is the base model.
  function accuracyOptions(data, colours) {
    const measured = data.accuracy.map((value, index) => (value === null ? null : index)).filter((i) => i !== null);
    const whiskers = {
      type: "custom",
      silent: true,
      data: measured.map((index) => [index, data.low[index], data.high[index]]),
      encode: { x: 0, y: [1, 2] },
      renderItem(params, api) {
        const low = api.coord([api.value(0), api.value(1)]);
        const high = api.coord([api.value(0), api.value(2)]);
        const style = { stroke: colours.accent, lineWidth: 1.5, opacity: 0.7 };
        const bar = (x1, y1, x2, y2) => ({ type: "line", shape: { x1, y1, x2, y2 }, style });
        return {
          type: "group",
          children: [
            bar(low[0], low[1], high[0], high[1]),
            bar(low[0] - 5, low[1], low[0] + 5, low[1]),
            bar(high[0] - 5, high[1], high[0] + 5, high[1]),
          ],
        };
      },
    };
    const line = {
      type: "line",
      data: data.accuracy,
      symbol: "circle",
      symbolSize: 9,
      connectNulls: true,
      lineStyle: { width: 2, color: colours.accent },
      itemStyle: { color: colours.accent },
      label: {
        show: true,
        position: "right",
        distance: 8,
        color: colours.ink,
        formatter: (item) => (item.dataIndex === 0 ? "" : percent(item.value)), // the base has its own line
      },
      z: 3,
    };
    if (data.accuracy[0] !== null) {
      line.markLine = {
        silent: true,
        symbol: "none",
        data: [{ yAxis: data.accuracy[0] }],
        lineStyle: { color: colours.base, type: "dashed", width: 1.5 },
        label: { formatter: `base model ${percent(data.accuracy[0])}`, position: "insideEndBottom", color: colours.base },
      };
    }
    const highest = Math.max(...data.high.filter((value) => value !== null));
    const base = axes(colours, data.categories, (value) => `${Math.round(value * 100)} %`);
    base.yAxis.max = Math.min(1, Math.ceil(highest * 10 + 0.5) / 10);
    const options = Object.assign(common(colours), base, {
      grid: { left: 4, right: 44, top: 12, bottom: 4, containLabel: true },
      series: [line, whiskers],
    });
    options.tooltip.formatter = (items) => {
      const index = items[0].dataIndex;
      const value = data.accuracy[index];
      if (value === null || value === undefined) return `${data.categories[index]}: not measured yet`;
      return `${data.categories[index]}: ${percent(value)}\n95 % interval ${percent(data.low[index])} to ${percent(data.high[index])}`;
    };
    return options;
  }

  // data: {nodes[], rounds: [{name, tokens[]}]}, one stacked bar per node.
  function rewardsOptions(data, colours) {
    const base = axes(colours, data.nodes, (value) => value.toLocaleString());
    const options = Object.assign(common(colours), base, {
      color: colours.series,
      legend: { top: 0, left: 0, icon: "roundRect", itemWidth: 10, itemHeight: 10, textStyle: { color: colours.text } },
      grid: { left: 4, right: 8, top: 32, bottom: 4, containLabel: true },
      series: data.rounds.map((round) => ({
        name: round.name,
        type: "bar",
        stack: "rewards",
        barMaxWidth: 44,
        data: round.tokens,
      })),
    });
    options.tooltip.valueFormatter = (value) =>
      Number(value || 0).toLocaleString(undefined, { minimumFractionDigits: 2, maximumFractionDigits: 2 });
    return options;
  }

  const KINDS = { accuracy: accuracyOptions, rewards: rewardsOptions };

  function draw(element) {
    const json = element.getAttribute("data-options");
    const theme = document.documentElement.getAttribute("data-bs-theme");
    let entry = drawn.get(element);
    if (entry && entry.json === json && entry.theme === theme) return;
    if (!entry) {
      entry = { chart: echarts.init(element, null, { renderer: "canvas" }) };
      drawn.set(element, entry);
      new ResizeObserver(() => entry.chart.resize()).observe(element);
    }
    entry.json = json;
    entry.theme = theme;
    entry.chart.setOption(KINDS[element.getAttribute("data-chart")](JSON.parse(json), palette()), { notMerge: true });
  }

  function drawAll() {
    for (const element of drawn.keys()) {
      if (!element.isConnected) {
        drawn.get(element).chart.dispose();
        drawn.delete(element);
      }
    }
    document.querySelectorAll("[data-chart]").forEach(draw);
  }

  document.addEventListener("theme-changed", drawAll);
  document.addEventListener("htmx:afterSettle", drawAll);
  drawAll();
})();
