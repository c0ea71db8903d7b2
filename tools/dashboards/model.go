package main

// dashboard is a page of rows of panels.
type dashboard struct {
	uid, title string
	instances  string // the metric whose label instance the variable offers; empty: no variable
	rows       []row
}

type row struct {
	title  string
	panels []panel
}

// panel is one question. Unit is Grafana's word for it.
type panel struct {
	title, help, unit string
	kind              kind
	queries           []query
	warn, bad         float64 // thresholds, 0 for none; below: where less is worse
	below             bool
	exemplars         bool // points lead to traces
	max               float64
}

type kind string

const (
	graph kind = "timeseries"
	stat  kind = "stat"
)

type query struct{ expr, legend string }

// m is a map of JSON; Grafana's schema is too large to be typed here.
type m = map[string]any

var prometheus = m{"type": "prometheus", "uid": "prometheus"}

// Panels are three in a row, four where they are single figures.
const (
	columns    = 24
	graphWide  = 8
	graphHigh  = 8
	statWide   = 6
	statHigh   = 5
	rowHigh    = 1
	rowIsWhole = columns
)

func (d dashboard) render() m {
	var panels []m
	y, id := 0, 0
	next := func() int { id++; return id }
	for _, r := range d.rows {
		panels = append(panels, m{
			"id": next(), "type": "row", "title": r.title, "collapsed": false, "panels": []m{},
			"gridPos": m{"x": 0, "y": y, "w": rowIsWhole, "h": rowHigh},
		})
		y += rowHigh
		x, high := 0, 0
		for _, p := range r.panels {
			w, h := graphWide, graphHigh
			if p.kind == stat {
				w, h = statWide, statHigh
			}
			if x+w > columns || high != 0 && h != high {
				x, y = 0, y+high
			}
			panels = append(panels, p.render(next(), m{"x": x, "y": y, "w": w, "h": h}))
			x, high = x+w, h
		}
		y += high
	}
	variables := []m{}
	if d.instances != "" {
		variables = append(variables, m{
			"name": "instance", "label": "Instance", "type": "query", "datasource": prometheus,
			"definition": "label_values(" + d.instances + ", instance)",
			"query":      m{"query": "label_values(" + d.instances + ", instance)", "refId": "instances"},
			"includeAll": true, "allValue": ".*", "multi": true, "refresh": 2, "sort": 1,
			"current": m{"text": "All", "value": "$__all"},
		})
	}
	return m{
		"uid": d.uid, "title": d.title, "tags": []string{"agiqa"}, "schemaVersion": 41, "version": 1, "editable": false,
		"timezone": "browser", "refresh": "30s", "time": m{"from": "now-1h", "to": "now"}, "graphTooltip": 1,
		"templating": m{"list": variables}, "annotations": m{"list": []m{}}, "panels": panels,
		"links": []m{{"type": "dashboards", "title": "agiqa", "tags": []string{"agiqa"}, "asDropdown": false,
			"keepTime": true, "includeVars": true}},
	}
}

func (p panel) render(id int, at m) m {
	targets := []m{}
	for i, q := range p.queries {
		target := m{"datasource": prometheus, "expr": q.expr, "legendFormat": q.legend, "refId": string(rune('A' + i))}
		if p.exemplars {
			target["exemplar"] = true
		}
		targets = append(targets, target)
	}
	defaults := m{"unit": p.unit, "min": 0, "thresholds": m{"mode": "absolute", "steps": p.steps()}}
	if p.max != 0 {
		defaults["max"] = p.max
	}
	options := m{"legend": m{"displayMode": "table", "placement": "bottom", "calcs": []string{"lastNotNull", "max"}},
		"tooltip": m{"mode": "multi", "sort": "desc"}}
	if p.kind == stat {
		options = m{"colorMode": "value", "graphMode": "area", "reduceOptions": m{"calcs": []string{"lastNotNull"}}}
	} else {
		style := "off"
		if p.warn != 0 || p.bad != 0 {
			style = "line"
		}
		defaults["custom"] = m{"lineWidth": 1, "fillOpacity": 8, "showPoints": "never", "thresholdsStyle": m{"mode": style}}
	}
	return m{
		"id": id, "type": string(p.kind), "title": p.title, "description": p.help, "datasource": prometheus, "gridPos": at,
		"targets": targets, "fieldConfig": m{"defaults": defaults, "overrides": []m{}}, "options": options,
	}
}

// steps are green, yellow and red, from below, or the other way round where less
// is worse.
func (p panel) steps() []m {
	colours, bounds := []string{"green", "yellow", "red"}, []float64{p.warn, p.bad}
	if p.below {
		colours, bounds = []string{"red", "yellow", "green"}, []float64{p.bad, p.warn}
	}
	if p.warn == 0 && p.bad == 0 {
		return []m{{"color": "green", "value": nil}}
	}
	steps := []m{{"color": colours[0], "value": nil}}
	for i, bound := range bounds {
		steps = append(steps, m{"color": colours[i+1], "value": bound})
	}
	return steps
}

func one(expr, legend string) []query { return []query{{expr, legend}} }
