//! Heartbeats: whether every task is run when it is woken.
//!
//! A watched task is woken from time to time, and has answered when it has been run. A task that
//! waits for a broker, a disk or libvirt answers, because only its future is run and waits again. One
//! that blocks its thread, whose thread is stopped, or whose runtime runs nothing, does not. A task that
//! waits for something that never comes is not noticed: it looks like any other waiting task.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

/// All watched tasks.
#[derive(Clone, Default)]
pub struct Heartbeats(Arc<Mutex<Vec<Watch>>>);

/// A task and when it was asked.
struct Watch {
    heart: Weak<Heart>,
    /// Time of the question that it has not answered so far.
    asked: Option<Instant>,
}

/// The part of a watched task that the watchdog sees.
struct Heart {
    name: String,
    /// Set by the question, cleared by the task when it has been run.
    asked: AtomicBool,
    waker: Mutex<Option<Waker>>,
}

impl Heartbeats {
    /// Watches a task until it ends or is dropped.
    pub fn watch<F: Future>(&self, name: &str, task: F) -> Watched<F> {
        let heart = Arc::new(Heart {
            name: name.to_owned(),
            asked: AtomicBool::new(false),
            waker: Mutex::new(None),
        });
        let watch = Watch { heart: Arc::downgrade(&heart), asked: None };
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Without a watchdog nothing else removes tasks that have ended.
        if all.len() == all.capacity() {
            all.retain(|one| one.heart.strong_count() > 0);
        }
        all.push(watch);
        Watched { heart, task: Box::pin(task) }
    }

    /// Wakes all tasks that have answered. Returns the name of the one that has not for longest, and
    /// the time since its question.
    pub fn ask(&self) -> Option<(String, Duration)> {
        let mut wakers = Vec::new();
        let mut oldest: Option<(String, Instant)> = None;
        let now = Instant::now();
        self.0.lock().unwrap_or_else(PoisonError::into_inner).retain_mut(|watch| {
            let Some(heart) = watch.heart.upgrade() else { return false };
            match watch.asked.filter(|_| heart.asked.load(Ordering::Acquire)) {
                Some(since) => {
                    if oldest.as_ref().is_none_or(|(_, other)| since < *other) {
                        oldest = Some((heart.name.clone(), since));
                    }
                }
                None => {
                    watch.asked = Some(now);
                    heart.asked.store(true, Ordering::Release);
                    let waker = heart.waker.lock().unwrap_or_else(PoisonError::into_inner);
                    wakers.extend(waker.clone());
                }
            }
            true
        });
        // Without the lock: waking may drop a task.
        wakers.into_iter().for_each(Waker::wake);
        oldest.map(|(name, since)| (name, now - since))
    }
}

/// A task with a heartbeat.
pub struct Watched<F> {
    heart: Arc<Heart>,
    task: Pin<Box<F>>,
}

impl<F: Future> Future for Watched<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        {
            let mut waker = self.heart.waker.lock().unwrap_or_else(PoisonError::into_inner);
            match &mut *waker {
                Some(waker) => waker.clone_from(context.waker()),
                none => *none = Some(context.waker().clone()),
            }
        }
        let polled = self.task.as_mut().poll(context);
        self.heart.asked.store(false, Ordering::Release);
        polled
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;
    use std::task::Wake;

    use super::*;

    #[derive(Default)]
    struct Counter(AtomicUsize);

    impl Wake for Counter {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn a_task_answers_when_it_has_been_run_and_is_forgotten_when_it_ends() {
        let heartbeats = Heartbeats::default();
        let mut waiting = heartbeats.watch("waiting", std::future::pending::<()>());
        let mut ending = heartbeats.watch("ending", std::future::ready(()));
        let counter = Arc::new(Counter::default());
        let waker = Waker::from(Arc::clone(&counter));
        let mut context = Context::from_waker(&waker);
        assert!(Pin::new(&mut waiting).poll(&mut context).is_pending());
        assert!(heartbeats.ask().is_none(), "nobody was asked before");
        assert_eq!(counter.0.load(Ordering::Relaxed), 1, "only the waiting task has a waker");
        let (name, _) = heartbeats.ask().unwrap();
        assert_eq!(name, "waiting");
        assert!(Pin::new(&mut waiting).poll(&mut context).is_pending());
        assert!(Pin::new(&mut ending).poll(&mut context).is_ready());
        drop(ending);
        assert!(heartbeats.ask().is_none(), "all have answered");
        assert_eq!(heartbeats.ask().map(|(name, _)| name).as_deref(), Some("waiting"));
        drop(waiting);
        assert!(heartbeats.ask().is_none());
    }

    #[test]
    fn ended_tasks_are_removed_without_a_watchdog() {
        let heartbeats = Heartbeats::default();
        for _ in 0..10_000 {
            drop(heartbeats.watch("short", std::future::ready(())));
        }
        assert!(heartbeats.0.lock().unwrap().len() < 100);
    }
}
