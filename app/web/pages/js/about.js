// Error rates, limits and responsible use, in plain words.

import { el } from "./dom.js";

export function about() {
  return el("article", { class: "prose" },
    el("h1", {}, "Limits and responsible use"),
    el("p", { class: "lead" }, "Gaitprint compares silhouettes of people who walk. It is often right and sometimes wrong, and it cannot tell you which."),
    el("h2", {}, "How often it is wrong"),
    el("ul", {},
      el("li", {}, "Published gait networks name the right person first in about 65 % (everyday video, Gait3D) to 98 % (a laboratory, the same clothes) of walks."),
      el("li", {}, "The small network that comes with the program was trained on virtual people only. With real people more errors must be expected; with the weight-free method gei many more."),
      el("li", {}, "Bags, coats, another camera angle, distance and a low frame rate all cost accuracy. People who are half hidden or seen for less than a second are not compared at all."),
      el("li", {}, "Strangers are sometimes taken for somebody in the gallery. The more people are enrolled, the more often that happens.")),
    el("h2", {}, "What the numbers mean"),
    el("dl", { class: "terms" },
      el("dt", {}, "Distance"), el("dd", {}, "How different two walks are; smaller is more alike. It means something only for one gait network."),
      el("dt", {}, "Threshold"), el("dd", {}, "Beyond it nobody is named. Without calibrated scores it is learnt from people seen together in the videos, who surely differ; from few people it is rough, and the run says so."),
      el("dt", {}, "Clear, fair, doubtful"), el("dd", {}, "How far a decision is from the border, which is the threshold or the next person. Said where no probability is known."),
      el("dt", {}, "A name with “?”"), el("dd", {}, "More likely wrong than right, or too near the border to tell."),
      el("dt", {}, "Probability"), el("dd", {}, "Shown only where scores of this network were calibrated. It holds for people and cameras like those it was calibrated on.")),
    el("h2", {}, "What makes it better"),
    el("ul", {},
      el("li", {}, "People in full view from head to feet, at least 48 pixels high, for some seconds."),
      el("li", {}, "Several walks of each person, in other clothes and from other sides. Each corrected name adds one."),
      el("li", {}, "The same kind of view in the gallery and in the video.")),
    el("h2", {}, "Before you use it"),
    el("ul", {},
      el("li", {}, "Gait is biometric data. In many countries recognising people by it needs their consent or another legal ground (in the European Union: article 9 of the GDPR)."),
      el("li", {}, "Do not use it to follow people who have not agreed. Write down what somebody agreed to when you enrol them, and forget them when they ask."),
      el("li", {}, "Nobody should bear a consequence of a match that no human has checked."),
      el("li", {}, "Children, and people who walk with crutches, a prosthesis or a wheelchair, are badly served: such bodies are missing from what networks are trained on.")),
    el("h2", {}, "Where your data is"),
    el("p", {}, "On this machine only: uploads, results and the gallery lie in the output folder, and nothing is sent anywhere. Silhouettes and embeddings identify people too; keep the folder as safe as the videos. Forgetting somebody, here or on the command line, deletes what was derived from them; here it lists what stays. Blurred videos hide people from viewers, but whoever the detector missed is not blurred."));
}
