"""Converts bands of hours to a price for each hour of the day."""


def read_prices(options):
    """A list of 24 prices per project. Errors are added to the options."""
    return {project: _prices_of_a_day(options, project) for project in options.keys()}


def _prices_of_a_day(options, project):
    prices = [None] * 24
    for band in options.objects(project):
        begin, end, price = (band.number(key) for key in ("from", "to", "price"))
        if None in (begin, end, price):
            continue
        if not begin < end:
            band.refuse("to", f"is not after from ({begin}); write a band over midnight as two")
            continue
        for hour in range(int(begin), int(end)):
            if prices[hour] is not None:
                band.refuse("from", f"hour {hour} already has a price")
                break
            prices[hour] = float(price)
    missing = [str(hour) for hour, price in enumerate(prices) if price is None]
    if missing:
        options.refuse(project, f"no price for hours {', '.join(missing)}")
    return prices
