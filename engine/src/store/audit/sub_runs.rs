//! Runs and the runs that they make and wait for.

/// As in [`super::CENSUS`].
pub(super) const CENSUS: &[(&str, &str)] = &[
    (
        "a sub-run stands for a task run that is there, and is asked for by who asked for its parent",
        "select format('%s of %s/%s', s.run, s.parent, s.idx) from sub_run s join run c on c.id = s.run
         join run p on p.id = s.parent left join task_run t on t.run = s.parent and t.idx = s.idx
         where t.run is null or c.trigger <> 'flow' or c.requester <> p.requester",
    ),
    (
        "no run stands above itself",
        "with recursive up as (
           select run as start, parent, 1 as depth from sub_run
           union all select u.start, s.parent, u.depth + 1 from up u join sub_run s on s.run = u.parent where u.depth < 100)
         select distinct start::text from up where parent = start or depth >= 100",
    ),
    (
        "what waits for a run waits for one that is not over",
        "select format('%s/%s', t.run, t.idx) from task_run t
         where t.state = 'waiting' and t.reason = 'sub_run' and exists (select from sub_run s where s.parent = t.run and s.idx = t.idx)
           and not exists (select from sub_run s join active_run a on a.run = s.run where s.parent = t.run and s.idx = t.idx)",
    ),
    (
        "no run goes on that nobody waits for",
        "select format('%s of %s/%s', s.run, s.parent, s.idx) from sub_run s join run c on c.id = s.run
         join task_run t on t.run = s.parent and t.idx = s.idx
         where t.finished_at is not null and c.finished_at is null and c.state <> 'cancelling'",
    ),
    (
        "a task run ends like the last run that it made",
        "select format('%s/%s is %s, run %s %s', t.run, t.idx, t.state, c.id, c.state) from task_run t
         join lateral (select run from sub_run s where s.parent = t.run and s.idx = t.idx order by s.try desc limit 1) s on true
         join run c on c.id = s.run
         where (t.state = 'succeeded') <> (c.state = 'succeeded') and t.state in ('succeeded', 'rejected')",
    ),
];
