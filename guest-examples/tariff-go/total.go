package main

// total is a compensated sum (Neumaier's), which keeps small addends: rest is what rounding left
// out.
type total struct {
	source string
	sum    float64
	rest   float64
}

func (t *total) add(cost float64) {
	sum := t.sum + cost
	large, small := t.sum, cost
	if large < small {
		large, small = small, large
	}
	t.rest += (large - sum) + small
	t.sum = sum
}

func (t *total) value() float64 {
	return t.sum + t.rest
}
