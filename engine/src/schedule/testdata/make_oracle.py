"""Writes oracle.txt: fires of cron expressions, found by walking over every UTC minute with Python's zoneinfo.

    python3 engine/src/schedule/testdata/make_oracle.py > engine/src/schedule/testdata/oracle.txt

Knows nothing of the Rust evaluator: wildcards match where the minute's wall clock fits; a fixed time fires at the first minute whose
wall clock has reached or passed it. One line a sample: expression | zone | start | fires in minutes after the start.
"""

import random
import sys
from datetime import datetime, timedelta, timezone
from zoneinfo import ZoneInfo

PAST = """Europe/Berlin America/New_York Australia/Lord_Howe Pacific/Apia Asia/Kolkata America/Sao_Paulo Asia/Tehran Africa/Casablanca
Africa/Cairo Asia/Gaza America/Caracas Pacific/Kiritimati Pacific/Chatham Europe/Dublin Antarctica/Troll America/St_Johns Asia/Pyongyang
Europe/Moscow America/Scoresbysund Asia/Kathmandu UTC Africa/Juba Asia/Amman America/Havana Europe/Istanbul America/Asuncion""".split()
NAMES = ["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"]


def values(field, low, high):
    out = set()
    for item in field.split(","):
        body, _, step = item.partition("/")
        first, _, last = (f"{low}-{high}" if body == "*" else body).partition("-")
        out.update(range(int(first), int(last or first) + 1, int(step or 1)))
    return out


def day_fits(day, of_month, month, of_week):
    if day.month not in values(month, 1, 12):
        return False
    length = (datetime(day.year + day.month // 12, day.month % 12 + 1, 1) - timedelta(days=1)).day
    if of_month == "L":
        month_fits = day.day == length
    else:
        month_fits = day.day in values(of_month, 1, 31)
    weekday = (day.weekday() + 1) % 7
    if "#" in of_week:
        name, nth = of_week.split("#")
        week_fits = weekday == NAMES.index(name) and (day.day - 1) // 7 + 1 == int(nth)
    elif of_week.endswith("L"):
        week_fits = weekday == int(of_week[0]) and day.day + 7 > length
    else:
        week_fits = weekday in values(of_week, 0, 6)
    return month_fits and week_fits


def fits(wall, fields):
    minute, hour, *day = fields
    return wall.minute in values(minute, 0, 59) and wall.hour in values(hour, 0, 23) and day_fits(wall, *day)


def fires(expression, zone, start, minutes):
    fields = expression.split()
    fixed = not any(c in fields[0] + fields[1] for c in "*/")
    at = start - timedelta(days=2)
    # The latest wall clock that was ever shown: what is new on the clock since the last minute is all that fixed times look at.
    shown = at.astimezone(zone).replace(tzinfo=None)
    found = []
    for _ in range(minutes + 2 * 1440):
        at += timedelta(minutes=1)
        wall = at.astimezone(zone).replace(tzinfo=None)
        if fixed:
            hit = False
            while shown < wall:
                shown += timedelta(minutes=1)
                hit = hit or fits(shown, fields)
        else:
            hit = fits(wall, fields)
        if hit and at > start:
            found.append(int((at - start).total_seconds() // 60))
    return found


def item(rng, low, high):
    kind = rng.randrange(6)
    a, b = sorted(rng.sample(range(low, high + 1), 2))
    return [str(a), f"{a},{b}", f"{a}-{b}", f"*/{rng.randint(2, (high - low) // 2)}", "*", str(b)][kind]


def expression(rng):
    small = rng.randrange(3)
    minute = [item(rng, 0, 59), rng.choice(["0", "30", "15,45", "*/15", "*/20", "59"]), "0"][small]
    hour = rng.choice([item(rng, 0, 23), rng.choice(["0", "1", "2", "3", "2,14", "0-3", "*", "1,2,3"])])
    of_month = rng.choice(["*"] * 6 + ["L", "1-15", "*/2"])
    of_week = rng.choice(["*"] * 6 + ["1-5", "0", "SUN#1", "0L"]) if of_month == "*" else "*"
    return f"{minute} {hour} {of_month} * {of_week}"


def seams(zone):
    """Days between 2000 and 2024 on which the offset changes."""
    day, end, out = datetime(2000, 1, 1, tzinfo=timezone.utc), datetime(2024, 6, 1, tzinfo=timezone.utc), []
    while day < end:
        if day.astimezone(zone).utcoffset() != (day + timedelta(days=1)).astimezone(zone).utcoffset():
            out.append(day)
        day += timedelta(days=1)
    return out


def main():
    rng = random.Random(20261124)
    days = {name: seams(ZoneInfo(name)) for name in PAST}
    for _ in range(3000):
        name = rng.choice(PAST)
        near = days[name] and rng.random() < 0.8
        base = rng.choice(days[name]) if near else datetime(2000, 1, 2, tzinfo=timezone.utc) + timedelta(days=rng.randrange(8900))
        start = base - timedelta(minutes=rng.randrange(1440))
        text = expression(rng)
        found = fires(text, ZoneInfo(name), start, 2880)
        steps = [b - a for a, b in zip([0] + found, found)]
        packed = []
        for step in steps:
            if packed and packed[-1][0] == step:
                packed[-1][1] += 1
            else:
                packed.append([step, 1])
        runs = " ".join(f"{step}x{n}" if n > 1 else str(step) for step, n in packed)
        sys.stdout.write(f"{text}|{name}|{start:%Y-%m-%dT%H:%M:%SZ}|{runs}\n")


main()
