// Converts bands of hours to a price for each hour of the day.

/** A list of 24 prices per project. Errors are added to the options. */
export function readPrices(options) {
  return new Map(options.keys().map((project) => [project, pricesOfADay(options, project)]));
}

function pricesOfADay(options, project) {
  const prices = new Array(24).fill(undefined);
  for (const band of options.objects(project)) {
    const [begin, end, price] = ['from', 'to', 'price'].map((key) => band.number(key));
    if ([begin, end, price].includes(undefined)) continue;
    if (!(begin < end)) {
      band.refuse('to', `is not after from (${begin}); write a band over midnight as two`);
      continue;
    }
    for (let hour = begin; hour < end; hour++) {
      if (prices[hour] !== undefined) {
        band.refuse('from', `hour ${hour} already has a price`);
        break;
      }
      prices[hour] = price;
    }
  }
  const missing = [...prices.keys()].filter((hour) => prices[hour] === undefined);
  if (missing.length > 0) {
    options.refuse(project, `no price for hours ${missing.join(', ')}`);
  }
  return prices;
}
