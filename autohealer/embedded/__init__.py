"""Keep the ZooKeeper server that the daemon brings along: launch, look, give up, adopt, end.

A second, small supervisor beside that of the workers. `facts` are its words, `decider` decides (pure), `keeper`
carries out on the event loop, `probe` asks ports what they are, `folder` is where a server lives on disk and who
answers for it, `leftovers` ends servers of earlier daemons that nobody needs any more.

Must never know: workers, registrations, settings. What a process is, it is told through `keeper.ServerProcess`.
"""
