// The end of the snapshot's script: what a process that is started from the snapshot does.
builtin("node:v8").startupSnapshot.setDeserializeMainFunction(() => {
  const [, cli, ...argv] = process.argv;
  building = false;
  process.chdir("."); // else Node believes that it is in the builder's folder
  Intl.Segmenter = Segmenter;
  delete process.on;
  for (const [event, listener] of signalListeners) process.on(event, listener);
  outside = builtin("node:module").createRequire(`${builtin("node:path").dirname(cli)}/chunks/`);
  return pi.start(argv);
});
