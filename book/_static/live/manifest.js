MMT.manifest = {
 "files": {
  "encoder": "encoder-48ed9cc260.js",
  "captioner-soft": "captioner-soft-ca003979d7.js",
  "captioner-priced": "captioner-priced-9ef06ff249.js",
  "captioner-hard": "captioner-hard-953e589ac0.js",
  "words-1611": "words-1611-121d1dafb5.js",
  "words-today": "words-today-b0e925adb6.js",
  "questions": "questions-d34c89e761.js",
  "questions-blind": "questions-blind-9208f8d42c.js",
  "search": "search-deb4ebb9da.js",
  "drawing": "drawing-b5da2da845.js",
  "party": "party-b6d57c196c.js",
  "gallery": "gallery-464c993a38.js",
  "voices": "voices-df3746dd90.js",
  "world": "world-111dc8decc.js"
 },
 "bytes": {
  "encoder": 1418096,
  "captioner-soft": 627330,
  "captioner-priced": 381892,
  "captioner-hard": 381890,
  "words-1611": 521400,
  "words-today": 466061,
  "questions": 582498,
  "questions-blind": 266901,
  "search": 636548,
  "drawing": 529787,
  "party": 947900,
  "gallery": 55197,
  "voices": 388490,
  "world": 634404
 }
};
