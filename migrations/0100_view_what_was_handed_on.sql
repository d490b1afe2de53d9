-- What task runs handed on. Where that is nothing there is no row in `task_output`: most tasks are there for what they do.
create view handed_on as
  select t.run, t.idx, coalesce(o.epoch, t.epoch) as epoch, coalesce(o.outputs, '{}') as outputs
  from task_run t left join task_output o on o.run = t.run and o.idx = t.idx
  where t.state = 'succeeded';
