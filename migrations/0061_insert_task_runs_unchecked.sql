-- Task runs are only ever inserted by the transaction that inserts their run, or that holds its lock. To look the run up again for each
-- of ten thousand of them costs as much as a third of the insert.
alter table task_run drop constraint task_run_run_fkey;
